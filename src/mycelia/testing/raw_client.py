"""A raw WebSocket client for engine checks, which can send invalid bytes and returns every frame that it receives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import Frame, FrameParser, mask_frame
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.memory.socket import MemorySocket
from mycelia.transports.seam import Engine

__all__ = ["HandshakeResponse", "MemoryRawClient", "RawClient", "TcpRawClient", "connect_raw_client"]

_KEY = b"\x01\x02\x03\x04"
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class HandshakeResponse:
    """The HTTP response to a handshake. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class RawClient(Protocol):
    """One connection from the client's side. After its end, sending has no effect."""

    async def send_head(self, data: bytes) -> None:
        """Send bytes of the handshake."""

    async def answer(self) -> HandshakeResponse | None:
        """Return the response to the handshake, or None if the server ended the connection without one."""

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Send a frame. Wait while the server does not read."""

    async def receive(self) -> Frame | None:
        """Return the next frame, or None if the server has ended the connection."""

    async def hang_up(self) -> None:
        """End the connection without a Close. A second call does nothing."""


async def connect_raw_client(engine: Engine) -> RawClient:
    """Connect to a running engine, without a handshake.

    Raises:
        ConnectionRefusedError: The engine has no address.
    """
    if isinstance(engine, MemoryEngine):
        return MemoryRawClient(engine.dial())
    address = engine.address()
    if address is None:
        raise ConnectionRefusedError(f"the {engine.name} engine has no address")
    return await TcpRawClient.to(address)


class TcpRawClient:
    """A raw client over TCP. It masks its frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = FrameParser(masked=False)
        self._frames: deque[Frame] = deque()

    @classmethod
    async def to(cls, address: tuple[str, int]) -> TcpRawClient:
        """Connect to an address."""
        return cls(*await asyncio.open_connection(*address, limit=_READ_BYTES))

    async def send_head(self, data: bytes) -> None:
        """Send bytes of the handshake."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self) -> HandshakeResponse | None:
        """Return the response to the handshake, or None if the server ended the connection without one."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head[:-4].split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        status, length = int(first.split(" ")[1]), headers.get("content-length")
        if length is None and status != 101 and headers.get("connection", "").lower() == "close":
            return HandshakeResponse(status, headers, await self._reader.read())  # RFC 9112 §6.3: up to the end
        return HandshakeResponse(status, headers, await self._reader.readexactly(int(length or "0")))

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Send a frame. Wait while the server does not read."""
        with suppress(ConnectionError):
            self._writer.write(mask_frame(opcode, payload, _KEY, fin, rsv))
            await self._writer.drain()

    async def receive(self) -> Frame | None:
        """Return the next frame, or None if the server has ended the connection."""
        while not self._frames:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                self._writer.close()  # as TCP clients do, because a server may wait for it
                return None
            self._frames.extend(self._parser.feed(data))
        return self._frames.popleft()

    async def hang_up(self) -> None:
        """End the connection without a Close."""
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class MemoryRawClient:
    """A raw client inside this process."""

    def __init__(self, socket: MemorySocket) -> None:
        self._socket = socket

    async def send_head(self, data: bytes) -> None:
        """Send bytes of the handshake."""
        self._socket.send_head(data)

    async def answer(self) -> HandshakeResponse | None:
        """Return the response to the handshake, or None if the server ended the connection without one."""
        try:
            answer = await self._socket.answer()
        except ConnectionResetError:
            return None
        headers = {name.lower(): value for name, value in answer.headers}
        if isinstance(answer, HttpReply):
            return HandshakeResponse(answer.status, headers, answer.body)
        if answer.subprotocol is not None:
            headers["sec-websocket-protocol"] = answer.subprotocol
        return HandshakeResponse(101, headers)

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Send a frame. Wait while the server does not read."""
        with suppress(ConnectionError):
            await self._socket.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        """Return the next frame, or None if the server has ended the connection."""
        return await self._socket.receive()

    async def hang_up(self) -> None:
        """End the connection without a Close."""
        self._socket.hang_up()
