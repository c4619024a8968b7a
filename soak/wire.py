"""A client in as few cycles as Python allows: frames made by hand, replies found by their length."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable
from itertools import count
from typing import cast

from mycelia.protocol.ws.frames import mask_frame

__all__ = ["HEAD", "Addresses", "Link", "Target", "dial", "enter", "message", "yield_core"]

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_RESET = struct.pack("ii", 1, 0)
_PER_ADDRESS = 40

Target = tuple[str, int]


def message(text: str) -> bytes:
    """A text message as a client sends it."""
    return mask_frame(1, text.encode(), b"\x00\x00\x00\x00")


def yield_core() -> None:
    """From now on this process runs only when nobody else wants its core, where the kernel can do that."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Addresses:
    """Source addresses 127.<block>.x.y, some clients each, so that limits per address see many people."""

    def __init__(self, block: int) -> None:
        self._block, self._numbers = block, count()

    def next(self) -> str:
        """Where the next client comes from."""
        number = next(self._numbers) // _PER_ADDRESS
        return f"127.{self._block}.{number // 250 % 250}.{number % 250 + 1}"


class Link(asyncio.Protocol):
    """One connection. `on_frame(opcode, payload)` is called for every frame of the server once it is open."""

    def __init__(self, on_frame: Callable[[int, bytes], None] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[bool] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.received = 0
        self._on_frame, self._data = on_frame, bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._on_frame is None and self.opened.done():
            return
        self._data += data
        if not self.opened.done():
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self.opened.set_result(self._data.startswith(b"HTTP/1.1 101"))
            del self._data[: end + 4]
        self._frames()

    def _frames(self) -> None:
        data, at = self._data, 0
        while len(data) - at >= 2:
            size, head = data[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(data) - at < head:
                    break
                size = int.from_bytes(data[at + 2 : at + head])
            if len(data) - at < head + size:
                break
            if self._on_frame is not None:
                self._on_frame(data[at] & 0x0F, bytes(data[at + head : at + head + size]))
            at += head + size
        del data[:at]

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)
        if not self.closed.done():
            self.closed.set_result(None)
        self.writable.set()

    @property
    def alive(self) -> bool:
        """Whether the connection has not ended."""
        return not self.closed.done()

    def write(self, data: bytes) -> None:
        """Sends bytes; nothing when the connection has ended."""
        if self.transport is not None and self.alive:
            self.transport.write(data)

    def stop_reading(self) -> None:
        """From now on nothing is read."""
        if self.transport is not None and self.alive:
            self.transport.pause_reading()

    def drop(self, *, reset: bool = False) -> None:
        """Ends without a Close, by FIN or by RST."""
        if self.transport is not None and self.alive:
            if reset:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


async def dial(
    target: Target, source: str, on_frame: Callable[[int, bytes], None] | None = None, head: bytes = HEAD
) -> Link:
    """A connection whose handshake, if `head` is one, was accepted. ConnectionRefusedError when it was not."""
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(lambda: Link(on_frame), *target, local_addr=(source, 0))
    if head:
        link.write(head)
        if not await link.opened:
            link.drop()
            raise ConnectionRefusedError("the handshake was refused")
    return link


async def enter(target: Target, source: str, on_frame: Callable[[int, bytes], None] | None = None) -> Link:
    """As `dial`, again and again while the server says that too many come at once."""
    while True:
        try:
            return await dial(target, source, on_frame)
        except OSError:
            await asyncio.sleep(0.05)
