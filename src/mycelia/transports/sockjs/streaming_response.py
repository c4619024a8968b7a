"""One response of a SockJS session: frames in, one pump out, until it is whole or its client has left."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from mycelia.asgi.scope import Receive, Send
from mycelia.protocol.sockjs.response_formats import Style

__all__ = ["Channel", "Owner"]

logger = logging.getLogger("mycelia.websocket.engine")

_MOMENT = 0.1  # seconds in which the server may yet have taken the end of a response whose client left with it
HeaderLines = tuple[tuple[str, str], ...]


class Owner(Protocol):
    """Who has a channel. Calls are plain, quick, and never raise."""

    def taken(self) -> None:
        """The server has taken some of what waits."""

    def sent(self, channel: Channel) -> None:
        """The server has taken all of it."""

    def slow(self) -> None:
        """The client has not taken all of it in time, and is hung up on."""

    def gone(self, channel: Channel) -> None:
        """The client left before that."""


class Channel:
    """One response. `buffered` is what the server has not taken yet."""

    def __init__(self, owner: Owner, style: Style, headers: HeaderLines) -> None:
        self.buffered = 0
        self._owner, self._style, self._headers = owner, style, headers
        self._loop = asyncio.get_running_loop()
        self._parts: deque[bytes] = deque()
        self._whole = self._over = self._ending = False
        self._news = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if style.prelude:
            self.write(style.prelude)

    def write(self, part: bytes) -> None:
        """Sends a part; of a response that is not streaming it is all."""
        if not self._whole:
            self._parts.append(part)
            self.buffered += len(part)
            self._news.set()

    def finish(self, patience: float) -> None:
        """Nothing follows. The client has `patience` seconds to take what waits."""
        if not self._whole:
            self._whole = True
            self._news.set()
            self._timer = self._loop.call_later(patience, self._give_up)

    def drop(self, patience: float) -> None:
        """What waits is not sent."""
        self._parts.clear()
        self.buffered = 0
        self.finish(patience)

    async def run(self, receive: Receive, send: Send) -> None:
        """Sends the response in the task that the server gave us."""
        pump = self._pump = self._loop.create_task(self._send_all(send), name="mycelia-sockjs-pump")
        leaving = self._loop.create_task(self._until_left(receive), name="mycelia-sockjs-leaving")
        try:
            await asyncio.wait([pump, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            pump.cancel()
            leaving.cancel()
            await asyncio.wait([pump, leaving])
            self._lose()

    # -- inside --------------------------------------------------------------------------------------

    async def _send_all(self, send: Send) -> None:
        try:
            if self._style.streaming:
                await self._stream(send)
            else:
                await self._answer(send)
        except Exception:  # ASGI says OSError; not every server does
            logger.debug("the server takes no more of a response", exc_info=True)
            return
        self._over = True
        self._owner.sent(self)

    async def _stream(self, send: Send) -> None:
        await send(self._start())
        while True:
            while self._parts:
                part = self._parts[0]
                await send({"type": "http.response.body", "body": part, "more_body": True})
                if self._parts:  # it may have been dropped meanwhile
                    self._parts.popleft()
                    self.buffered -= len(part)
                    self._owner.taken()
            if self._whole:
                break
            self._news.clear()
            await self._news.wait()
        self._ending = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, send: Send) -> None:
        while not self._whole:
            self._news.clear()
            await self._news.wait()
        body = b"".join(self._parts)
        await send(self._start(("content-length", str(len(body)))))
        self._ending = True
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self._parts.clear()
        self.buffered = 0
        self._owner.taken()

    def _start(self, *more: tuple[str, str]) -> dict[str, object]:
        lines = [("content-type", self._style.content_type), *self._headers, *more]
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _until_left(self, receive: Receive) -> None:
        """Reads on: what a request to receive brings means nothing, but that its client leaves must be seen."""
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception:
            logger.debug("the server has no more events", exc_info=True)
        if self._ending and self._pump is not None:  # Starlette's middleware says it of every client then
            await asyncio.wait([self._pump], timeout=_MOMENT)
        self._lose()

    def _lose(self) -> None:
        if not self._over:
            self._over = self._whole = True
            self._parts.clear()
            self.buffered = 0
            self._owner.gone(self)

    def _give_up(self) -> None:
        self._owner.slow()
        if self._pump is not None:
            self._pump.cancel()
