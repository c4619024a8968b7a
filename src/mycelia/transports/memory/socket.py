"""The client's end of an in-memory connection: frames instead of bytes, otherwise like a socket.

A client writes the head of a request, reads the response, and then sends and receives frames. Nothing is delivered
within the call that sends it. A client that does not read fills the connection. A client that the server does not read
has to wait, as over TCP.
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
from mycelia.protocol.http.request import HttpReply, encode_headers
from mycelia.protocol.ws.frames import Frame, mask_frame
from mycelia.protocol.ws.handshake import VERSION

__all__ = ["HandshakeRefused", "HeaderLines", "MemorySocket", "Opened", "ServerEnd", "request_head"]

HeaderLines = Mapping[str, str] | Iterable[tuple[str, str]]

_HANDSHAKE_KEY = b64encode(b"in memory client").decode()
_MASK = bytes(4)  # a mask that changes nothing, so that masking is cheap


@dataclass(frozen=True, slots=True)
class Opened:
    """The server's 101 response.

    Attributes:
        subprotocol: The subprotocol that the server chose.
        headers: The headers that the server added.
    """

    subprotocol: str | None
    headers: tuple[tuple[str, str], ...] = ()


class HandshakeRefused(EngineError):
    """The server answered the handshake with an HTTP response instead of 101.

    Attributes:
        reply: The response.
        status: Its status.
    """

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply
        self.status = reply.status
        text = reply.body.decode("utf-8", "replace").strip()
        super().__init__(f"expected 101, got {reply.status}{f': {text}' if text else ''}")


class ServerEnd(Protocol):
    """The server's end of the connection, as the client's end uses it."""

    @property
    def is_full(self) -> bool:
        """True if the client must wait before it sends more."""

    def deliver(self, data: bytes) -> None:
        """Take bytes from the client, and pass them to the server in a later iteration."""

    def client_has_read(self) -> None:
        """Note that the client has read a frame."""

    def client_hung_up(self) -> None:
        """Note that the client has ended the connection."""


def request_head(url: str, headers: HeaderLines = (), subprotocols: Sequence[str] = ()) -> bytes:
    """Return the head of a handshake request.

    Args:
        url: The URL; its host becomes the Host header, and its path and query the target.
        headers: More headers. A header here replaces the default header of the same name.
        subprotocols: The subprotocols to offer.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        ("Host", parts.netloc or "memory"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", VERSION),
        ("Sec-WebSocket-Key", _HANDSHAKE_KEY),
    ]
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    kept = [line for line in lines if line[0].lower() not in names]
    return f"GET {target} HTTP/1.1\r\n".encode() + encode_headers([*kept, *given]) + b"\r\n"


class MemorySocket:
    """A client's connection, made by `MemoryEngine.dial` and `MemoryEngine.open`. Only one task may read at a time.

    Attributes:
        remote: The client's address, as the server sees it.
        unread_bytes: The size of the frames that the client has not read.
    """

    def __init__(self, server: ServerEnd, remote: tuple[str, int]) -> None:
        self.remote = remote
        self.unread_bytes = 0
        self._server = server
        self._unread: deque[Frame] = deque()
        self._answer: Opened | HttpReply | None = None
        self._ended = self._hung_up = False
        self._readable, self._writable = asyncio.Event(), asyncio.Event()

    # -- what a client calls -------------------------------------------------------------------------

    def send_head(self, data: bytes) -> None:
        """Send a request head, or a part of it.

        Args:
            data: The bytes; see `request_head`.
        """
        self._server.deliver(data)

    async def answer(self) -> Opened | HttpReply:
        """Return the server's response to the handshake.

        Raises:
            ConnectionResetError: The connection ended without a response.
        """
        while self._answer is None:
            if self._ended:
                raise ConnectionResetError("expected a response to the handshake, got the end of the connection")
            self._readable.clear()
            await self._readable.wait()
        return self._answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Send one frame, valid or not. Waits while the server does not read.

        Args:
            opcode: The opcode (RFC 6455 §5.2).
            payload: The payload, not masked.
            fin: False for a fragment that is not the last one.
            rsv: The three reserved bits, RSV1 as 4.

        Raises:
            ConnectionResetError: The connection has ended.
        """
        while self._server.is_full and not (self._ended or self._hung_up):
            self._writable.clear()
            await self._writable.wait()
        if self._ended or self._hung_up:
            raise ConnectionResetError("the connection has ended")
        self._server.deliver(mask_frame(opcode, bytes(payload), _MASK, fin, rsv))

    async def receive(self) -> Frame | None:
        """Return the next frame, or None if the server has ended the connection and every frame is read."""
        while not self._unread:
            if self._ended or self._hung_up:
                return None
            self._readable.clear()
            await self._readable.wait()
        frame = self._unread.popleft()
        self.unread_bytes -= _size(frame)
        self._server.client_has_read()
        return frame

    def hang_up(self) -> None:
        """End the connection without a Close frame. Frames that the server sends from now on are lost."""
        if not self._hung_up:
            self._hung_up = True
            self._wake()
            self._server.client_hung_up()

    # -- what the server's end calls -----------------------------------------------------------------

    def take_answer(self, answer: Opened | HttpReply) -> None:
        """Take the response to the handshake."""
        self._answer = answer
        self._readable.set()

    def take_frame(self, frame: Frame) -> None:
        """Take one frame from the server."""
        if not (self._ended or self._hung_up):
            self._unread.append(frame)
            self.unread_bytes += _size(frame)
            self._readable.set()

    def drop_newest(self, most_bytes: int) -> None:
        """Drop the newest frames until `most_bytes` are left: those that had not left the server yet."""
        while self.unread_bytes > most_bytes:
            self.unread_bytes -= _size(self._unread.pop())

    def end(self) -> None:
        """Note that the server sends nothing more."""
        self._ended = True
        self._wake()

    def made_space(self) -> None:
        """Note that the server has read."""
        self._writable.set()

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()


def _size(frame: Frame) -> int:
    return len(frame.payload) + 2
