"""One SockJS session over HTTP, as the transport of a connection: the requests it lives on, and its timer.

What the session answers is decided in `protocol.sockjs_session`; a line does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol, cast

from mycelia.asgi.scope import Scope
from mycelia.protocol.sockjs.frames import Quoter
from mycelia.protocol.sockjs.response_formats import Style
from mycelia.protocol.sockjs.session import (
    Drop,
    End,
    Ended,
    Finish,
    Forget,
    Output,
    Received,
    Session,
    SessionTerms,
    Write,
)
from mycelia.protocol.wire.codes import Close, close_payload
from mycelia.protocol.ws.deflate import Compression
from mycelia.scheduling.deadline_timer import DeadlineTimer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Peer
from mycelia.transports.sockjs.streaming_response import Channel

__all__ = ["House", "SockjsLine"]

_MOMENT = 0.1  # seconds in which news of a client that left may be behind its next request
_IN_LINE = 8  # requests of one session that may wait until those before them have been read


class House(Protocol):
    """Who keeps the lines of an endpoint."""

    options: EngineOptions
    terms: SessionTerms
    quoter: Quoter

    def ended(self, line: SockjsLine) -> None:
        """Its session is over, and answers for a while."""

    def forget(self, line: SockjsLine) -> None:
        """It answers no more."""


class SockjsLine:
    """One session. `native` is the scope of the request that opened it."""

    def __init__(self, house: House, name: str, scope: Scope) -> None:
        self.name = name
        self._house, self._scope = house, scope
        self._loop = asyncio.get_running_loop()
        self._session = Session(house.terms, self._loop.time())
        self.deadline = self._loop.time() + house.options.handshake_timeout
        self._peer: Peer | None = None
        self._channels: list[Channel] = []  # whose responses are not taken yet, as far as they are the session's
        self._alarm = DeadlineTimer()
        self._closing: tuple[int, str] | None = None  # what this side closes with
        self._held: list[bytes] = []  # came while reading was paused
        self._resumed: asyncio.Event | None = None
        self._vacant = asyncio.Event()  # nobody receives
        self._turn = asyncio.Lock()
        self._queued = 0
        self._full = self._flushing = False

    # -- Transport -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes that wait for a request, or for the server to take them."""
        return self._session.buffered + sum(each.buffered for each in self._channels)

    def send(self, payload: bytes, binary: bool) -> None:
        if self._peer is None or self._closing is not None or self._session.over:
            return
        self._session.put(self._house.quoter(payload, binary))
        if not self._flushing:  # what is sent in one turn of the loop shares a frame
            self._flushing = True
            self._loop.call_soon(self._flush)
        self._weigh()

    def close(self, code: int, reason: str) -> None:
        said = close_payload(code, reason)[2:].decode()  # raises for what may not be said
        if self._peer is None or self._closing is not None or self._session.over:
            return
        self._closing = code, said
        self.resume()
        self._do(self._session.close(code, said, self._loop.time(), behind=not self._full))

    def abort(self) -> None:
        if self._peer is not None:
            self._do(self._session.abort(self._loop.time()))

    def pause(self) -> None:
        """No more messages are handed over, and requests that bring some wait."""
        if self._resumed is None and not self._session.over:
            self._resumed = asyncio.Event()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.set()
            held, self._held = self._held, []
            self._hand_over(held)

    @property
    def native(self) -> Scope:
        return self._scope

    @property
    def compression(self) -> Compression | None:
        return None

    def accepted(self, connection_id: str) -> bool:
        return False

    # -- requests ------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether it takes no more messages."""
        return self._session.over

    @property
    def crowded(self) -> bool:
        """Whether as many requests wait for their turn as may."""
        return self._queued >= _IN_LINE

    def open(self, peer: Peer) -> None:
        """The connection is this peer's; the first request has been given the frame that opens it."""
        self._peer = peer
        peer.opened(self)

    def receive(self, style: Style, headers: Sequence[tuple[str, str]]) -> Channel:
        """The response to a request that receives; the caller runs it."""
        channel = Channel(self, style, tuple(headers))
        if not self._session.receiving and not self._session.over:
            self._channels.append(channel)
        self._do(self._session.receive(channel, style, self._loop.time()))
        return channel

    async def vacated(self) -> None:
        """Waits a moment for whoever receives to be gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOMENT):
                await self._vacant.wait()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The turn of a request that brings messages: they are read one after another."""
        self._queued += 1
        try:
            async with self._turn:
                yield
        finally:
            self._queued -= 1

    async def bring(self, messages: Sequence[bytes]) -> None:
        """Hands over what a request brought; returns when more may come."""
        self._do(self._session.bring(messages))
        while self._resumed is not None:
            await self._resumed.wait()

    def forget(self) -> None:
        """Answers no more."""
        if not self._session.over:
            self._do(self._session.abort(self._loop.time()))
        self._session.forgotten = True
        self._alarm.cancel()
        self._house.forget(self)

    # -- Owner of its channels -----------------------------------------------------------------------

    def taken(self) -> None:
        if self._full:
            self._weigh()

    def sent(self, channel: Channel) -> None:
        self._session.sent(channel)
        self._leave(channel)

    def slow(self) -> None:
        if self._peer is not None and self._closing is None and not self._session.over:
            self._peer.failed(Close.SLOW_CONSUMER, "the client reads too slowly")
            self.close(Close.SLOW_CONSUMER, "slow consumer")

    def gone(self, channel: Channel) -> None:
        self._leave(channel)
        self._do(self._session.gone(channel, self._loop.time()))

    # -- inside --------------------------------------------------------------------------------------

    def _do(self, outputs: Iterable[Output]) -> None:
        """Does what the session says."""
        options = self._house.options
        for each in outputs:
            match each:
                case Received():
                    self._hand_over(each.messages)
                case Write():
                    cast(Channel, each.key).write(each.payload)
                case Finish():  # a client has as long to take a response as to come in
                    cast(Channel, each.key).finish(
                        options.close_timeout if self._closing is not None else options.handshake_timeout
                    )
                case Drop():
                    cast(Channel, each.key).drop(options.close_timeout)
                case Ended():
                    self._end(each.why)
                case Forget():
                    self.forget()
        if self._session.receiving:
            self._vacant.clear()
        else:
            self._vacant.set()
        if self._full:
            self._weigh()
        if not self._session.forgotten:
            self._alarm.call_by(self._session.due, self._tick)

    def _leave(self, channel: Channel) -> None:
        if channel in self._channels:
            self._channels.remove(channel)

    def _hand_over(self, messages: Sequence[bytes]) -> None:
        for at, message in enumerate(messages):
            if self._resumed is not None:
                self._held += messages[at:]
                return
            if self._peer is None or self._closing is not None or self._session.over:
                return
            self._peer.received(message, False)

    def _tick(self) -> None:
        self._do(self._session.tick(self._loop.time()))

    def _flush(self) -> None:
        self._flushing = False
        self._do(self._session.flush(self._loop.time()))

    def _weigh(self) -> None:
        """Tells the peer when too much waits, and when that is over."""
        high = self._house.options.high_water_bytes
        full = self.buffered > (high // 4 if self._full else high)
        if full is not self._full and self._peer is not None and self._closing is None and not self._session.over:
            self._full = full
            self._peer.congested(full)

    def _end(self, why: End) -> None:
        self._held.clear()
        self.resume()
        self._house.ended(self)
        self._loop.call_soon(self._tell_end, why)

    def _tell_end(self, why: End) -> None:
        peer, self._peer = self._peer, None
        if peer is None:
            return
        code, reason = int(Close.ABNORMAL), ""
        if why is End.SERVER and self._closing is not None:
            code, reason = self._closing
        elif why is End.LOST and self._closing is None:  # no more than a page that is left can say
            code = int(Close.GOING_AWAY)
            peer.leaving()
        peer.closed(code, reason)
