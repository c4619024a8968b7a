"""A raw client for engine checks: it can say what is wrong, and shows every frame that comes back."""

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

__all__ = ["Answer", "MemoryWire", "TcpWire", "Wire", "dial"]

_KEY = b"\x01\x02\x03\x04"
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The HTTP answer to a handshake; the names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Wire(Protocol):
    """One connection, from the client's side. After its end sending does nothing."""

    async def send_head(self, data: bytes) -> None: ...

    async def answer(self) -> Answer | None:
        """The server's answer to the handshake; None when it hung up without one."""

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Sends a frame; waits while the server does not read."""

    async def receive(self) -> Frame | None:
        """The next frame; None when the server has ended the connection."""

    async def hang_up(self) -> None:
        """Ends the connection without a Close. May be called again."""


async def dial(engine: Engine) -> Wire:
    """A connection to a running engine whose handshake has not begun."""
    if isinstance(engine, MemoryEngine):
        return MemoryWire(engine.dial())
    address = engine.address()
    if address is None:
        raise ConnectionRefusedError(f"the {engine.name} engine has no address")
    return await TcpWire.to(address)


class TcpWire:
    """Over TCP, with masked frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = FrameParser(masked=False)
        self._frames: deque[Frame] = deque()

    @classmethod
    async def to(cls, address: tuple[str, int]) -> TcpWire:
        """A connection to this address."""
        return cls(*await asyncio.open_connection(*address, limit=_READ_BYTES))

    async def send_head(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self) -> Answer | None:
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
            return Answer(status, headers, await self._reader.read())  # RFC 9112 §6.3: up to the end
        return Answer(status, headers, await self._reader.readexactly(int(length or "0")))

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        with suppress(ConnectionError):
            self._writer.write(mask_frame(opcode, payload, _KEY, fin, rsv))
            await self._writer.drain()

    async def receive(self) -> Frame | None:
        while not self._frames:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                self._writer.close()  # as TCP clients do: a server may wait for it
                return None
            self._frames.extend(self._parser.feed(data))
        return self._frames.popleft()

    async def hang_up(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class MemoryWire:
    """In memory, without bytes."""

    def __init__(self, socket: MemorySocket) -> None:
        self._socket = socket

    async def send_head(self, data: bytes) -> None:
        self._socket.send_head(data)

    async def answer(self) -> Answer | None:
        try:
            answer = await self._socket.answer()
        except ConnectionResetError:
            return None
        lines = {name.lower(): value for name, value in answer.headers}
        if isinstance(answer, HttpReply):
            return Answer(answer.status, lines, answer.body)
        if answer.subprotocol is not None:
            lines["sec-websocket-protocol"] = answer.subprotocol
        return Answer(101, lines)

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        with suppress(ConnectionError):
            await self._socket.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        return await self._socket.receive()

    async def hang_up(self) -> None:
        self._socket.hang_up()
