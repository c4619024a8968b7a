"""The client's end of a connection in memory: frames instead of bytes, otherwise like a socket.

Whoever connects writes the head of a request, reads the answer, and then sends and receives frames. Nothing
is delivered within the call that sends it; a client that does not read fills the connection up, and one that
is not read has to wait, as over TCP.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from mycelia.errors import EngineError
from mycelia.protocol.http.request import encode_headers
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.protocol.ws.handshake import VERSION, HttpReply

__all__ = ["FarEnd", "HandshakeRefused", "HeaderLines", "MemorySocket", "Opened", "request_head"]

HeaderLines = Mapping[str, str] | Iterable[tuple[str, str]]

_KEY = b64encode(b"in memory client").decode()


@dataclass(frozen=True, slots=True)
class Opened:
    """The server's 101: the subprotocol that it chose, and the headers that it added."""

    subprotocol: str | None
    headers: tuple[tuple[str, str], ...] = ()


class HandshakeRefused(EngineError):
    """The server answered the handshake with an HTTP reply instead of a 101."""

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply
        self.status = reply.status
        text = reply.body.decode("utf-8", "replace").strip()
        super().__init__(f"expected 101, got {reply.status}{f': {text}' if text else ''}")


class FarEnd(Protocol):
    """The server's end, as its client's end sees it."""

    @property
    def full(self) -> bool:
        """Whether no more may be put before something was read."""

    def head(self, data: bytes) -> None: ...

    def put(self, frame: Frame) -> None: ...

    def taken(self) -> None:
        """The client has read."""

    def hung_up(self) -> None: ...


def request_head(url: str, headers: HeaderLines = (), subprotocols: Sequence[str] = ()) -> bytes:
    """The head of a handshake as a client sends it; a header that is given replaces ours of that name."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        ("Host", parts.netloc or "memory"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", VERSION),
        ("Sec-WebSocket-Key", _KEY),
    ]
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    kept = [line for line in lines if line[0].lower() not in names]
    return f"GET {target} HTTP/1.1\r\n".encode() + encode_headers([*kept, *given]) + b"\r\n"


class MemorySocket:
    """What a client holds; made by `MemoryEngine.dial` and `MemoryEngine.open`. One reader at a time."""

    def __init__(self, far: FarEnd, remote: tuple[str, int]) -> None:
        self.remote = remote
        self.unread_bytes = 0
        self._far = far
        self._unread: deque[Frame] = deque()
        self._answer: Opened | HttpReply | None = None
        self._ended = self._hung_up = False
        self._readable, self._writable = asyncio.Event(), asyncio.Event()

    # -- what a client calls -------------------------------------------------------------------------

    def send_head(self, data: bytes) -> None:
        """Sends a part of the head of the request, or all of it (see `request_head`)."""
        self._far.head(data)

    async def answer(self) -> Opened | HttpReply:
        """The server's answer to the handshake. ConnectionResetError when there was none."""
        while self._answer is None:
            if self._ended:
                raise ConnectionResetError("expected an answer to the handshake, got the end")
            self._readable.clear()
            await self._readable.wait()
        return self._answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Sends one frame, right or wrong; waits while the server does not read.

        Raises ConnectionResetError when the connection has ended.
        """
        while self._far.full and not (self._ended or self._hung_up):
            self._writable.clear()
            await self._writable.wait()
        if self._ended or self._hung_up:
            raise ConnectionResetError("the connection has ended")
        self._far.put(Frame(opcode, fin, rsv, bytes(payload), True))

    async def receive(self) -> Frame | None:
        """The next frame; None when the server has ended the connection and everything is read."""
        while not self._unread:
            if self._ended or self._hung_up:
                return None
            self._readable.clear()
            await self._readable.wait()
        frame = self._unread.popleft()
        self.unread_bytes -= _size(frame)
        self._far.taken()
        return frame

    def hang_up(self) -> None:
        """Ends the connection from this side, without a Close; what the server sends from now on is lost."""
        if not self._hung_up:
            self._hung_up = True
            self._wake()
            self._far.hung_up()

    # -- what the server's end calls -----------------------------------------------------------------

    def answered(self, answer: Opened | HttpReply) -> None:
        """The handshake is decided."""
        self._answer = answer
        self._readable.set()

    def deliver(self, opcode: Opcode, payload: bytes) -> None:
        """One frame from the server."""
        if not (self._ended or self._hung_up):
            frame = Frame(opcode, True, 0, bytes(payload))
            self._unread.append(frame)
            self.unread_bytes += _size(frame)
            self._readable.set()

    def cut(self, most_bytes: int) -> None:
        """Loses the newest frames, those that had not left the server yet."""
        while self.unread_bytes > most_bytes:
            self.unread_bytes -= _size(self._unread.pop())

    def end(self) -> None:
        """The server sends nothing more."""
        self._ended = True
        self._wake()

    def made_room(self) -> None:
        """The server has read."""
        self._writable.set()

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()


def _size(frame: Frame) -> int:
    return len(frame.payload) + 2
