"""The server's end of an in-memory connection: an asyncio transport whose other end is a `MemorySocket`.

It behaves like the transport of a TCP socket. The protocol above it gets the client's bytes in later iterations, a
bounded amount each, and one frame at a time, so that a pause takes effect between two frames. What the protocol writes
is parsed at once into the response and the frames that the client reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import FrameParser
from mycelia.transports.memory.socket import MemorySocket, Opened

__all__ = ["MemoryStream"]

_READ_BYTES = 64 * 1024  # passed to the protocol in one iteration
# Headers of a response that do not come from the application; `Opened` and `HttpReply` have the rest.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "upgrade",
    }
)


class MemoryStream(asyncio.Transport):
    """The server's end of one connection.

    Attributes:
        client: The client's end.
        is_secure: True if the client pretends to use TLS.
    """

    def __init__(
        self, protocol: asyncio.BufferedProtocol, remote: tuple[str, int], is_secure: bool, socket_bytes: int
    ) -> None:
        super().__init__({"peername": remote})
        self.client = MemorySocket(self, remote)
        self.is_secure = is_secure
        self._protocol, self._socket_bytes = protocol, socket_bytes
        self._loop = asyncio.get_running_loop()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._arrived: deque[bytes] = deque()
        self._arrived_bytes = 0
        self._head = b""  # of the response
        self._frames: FrameParser | None = None  # once the response is written
        self._reading, self._writing_paused = True, False
        self._read_scheduled = self._hung_up = self._closing = self._losing = False

    # -- what the client's end calls -----------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """True if the client must wait before it sends more."""
        return self._arrived_bytes >= self._socket_bytes

    def deliver(self, data: bytes) -> None:
        """Take bytes from the client, and pass them to the protocol in a later iteration."""
        self._arrived.append(data)
        self._arrived_bytes += len(data)
        self._read_later()

    def client_has_read(self) -> None:
        """Note that the client has read a frame: writing may go on, or the connection may end."""
        if self._writing_paused or self._closing:
            self._loop.call_soon(self._update_writing)

    def client_hung_up(self) -> None:
        """Note that the client has ended the connection. The protocol gets what was sent before."""
        self._hung_up = True
        self._read_later()

    # -- reading -------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._read_later()

    def _read_later(self) -> None:
        if not self._read_scheduled and self.is_reading() and not self._losing:
            self._read_scheduled = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._read_scheduled = False
        left = _READ_BYTES
        while self._arrived and left > 0 and self.is_reading():
            left -= self._pass_on(self._arrived.popleft())
        if not self.is_full:
            self.client.made_space()
        if self._arrived:
            self._read_later()
        elif self._hung_up and self._reading:
            self._lose_later()

    def _pass_on(self, data: bytes) -> int:
        """Pass bytes to the protocol, as many as its buffer takes, and keep the rest. Return their number."""
        buffer = memoryview(self._protocol.get_buffer(len(data)))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        if count < len(data):
            self._arrived.appendleft(data[count:])
        self._arrived_bytes -= count
        self._protocol.buffer_updated(count)
        return count

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._closing or self._losing:
            return
        if self._hung_up:
            self._lose_later()
            return
        if self._frames is None:
            data = self._write_head(data)
        if self._frames is not None:
            for frame in self._frames.feed(data):
                self.client.take_frame(frame)
        if not self._writing_paused and self.get_write_buffer_size() > self._high:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _write_head(self, data: bytes) -> bytes:
        """Take a part of the response to the handshake. Return what follows the response."""
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return b""
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        known = {name.lower(): value for name, value in reversed(pairs)}
        added = tuple((name, value) for name, value in pairs if name.lower() not in _OWN_HEADERS)
        status = int(first.split(" ")[1])
        if status == 101:
            self._frames = FrameParser(masked=False)
            self.client.take_answer(Opened(known.get("sec-websocket-protocol"), added))
            return rest
        kind = known.get("content-type", HttpReply(status).content_type)
        self.client.take_answer(HttpReply(status, rest, added, kind))
        return b""

    def get_write_buffer_size(self) -> int:
        return max(0, self.client.unread_bytes - self._socket_bytes)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def _update_writing(self) -> None:
        if self._losing:
            return
        if self._writing_paused and self.get_write_buffer_size() <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not self.get_write_buffer_size():
            self._lose_later()

    # -- the end -------------------------------------------------------------------------------------

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.client.end()

    def is_closing(self) -> bool:
        return self._closing or self._losing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self.get_write_buffer_size():
                self._lose_later()

    def abort(self) -> None:
        self._lose_later()

    def _lose_later(self) -> None:
        if not self._losing:
            self._losing = True
            self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        self._closing = True
        self._arrived.clear()
        self._arrived_bytes = 0
        self.client.drop_newest(self._socket_bytes)
        self.client.end()
        self._protocol.connection_lost(None)
