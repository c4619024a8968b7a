"""A TCP proxy that misbehaves when told to: what lies between a client and a server, for tests.

    async with FaultProxy(("127.0.0.1", port)) as proxy:
        proxy.split("up", 1)                    # the server gets every byte by itself
        await client.connect(proxy.url("/ws"))
        proxy.stall("down")                     # and from now on the client reads nothing

`up` is from client to server, `down` is back; a call without a direction means both. What is set holds for the
connections that are there and for those to come, until `flow` sets the line right again. A connection holds at most
one chunk (64 KiB) each way, so whoever sends into a stalled line is held up as by a slow network.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self

__all__ = ["Direction", "FaultProxy"]

Direction = Literal["up", "down"]

_DIRECTIONS: Final[tuple[Direction, Direction]] = ("up", "down")
_CHUNK: Final = 64 * 1024
_BACKLOG: Final = 1024
_RESET: Final = struct.pack("ii", 1, 0)  # lingers for no time: close() sends RST


class _Line:
    """One direction: what happens to its bytes on every connection."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.split = 0
        self.dropping = False
        self.open = asyncio.Event()
        self.open.set()
        self.carried = self.dropped = 0

    def flow(self) -> None:
        self.delay, self.split, self.dropping = 0.0, 0, False
        self.open.set()


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, lines: dict[Direction, _Line]) -> None:
        self._client, self._lines = client, lines
        self._server = socket.socket(socket.AF_INET6 if client.family is socket.AF_INET6 else socket.AF_INET)
        self._ended: set[Direction] = set()  # FIN was sent
        self.task: asyncio.Task[None] | None = None

    async def run(self, target: tuple[str, int]) -> None:
        """Carries bytes until both sides have ended; what breaks one side resets the other."""
        try:
            for each in (self._client, self._server):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(self._server, target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump("up", self._client, self._server), name="mycelia-proxy-up")
                pumps.create_task(self._pump("down", self._server, self._client), name="mycelia-proxy-down")
        except* OSError:
            self._linger()
        finally:
            self.close()

    def close(self) -> None:
        """Gives the sockets back."""
        self._client.close()
        self._server.close()

    def reset(self) -> None:
        """Both sides see a RST."""
        self._linger()
        self.hang_up()

    def hang_up(self) -> None:
        """Both sides see the end of the connection."""
        if self.task is not None:
            self.task.cancel()

    def half_close(self, direction: Direction) -> None:
        """The receiver of this direction sees a FIN; the other direction goes on."""
        to = self._server if direction == "up" else self._client
        if direction not in self._ended:
            self._ended.add(direction)
            with suppress(OSError):  # it is gone already, or not connected yet
                to.shutdown(socket.SHUT_WR)

    def _linger(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def _pump(self, direction: Direction, origin: socket.socket, to: socket.socket) -> None:
        loop, line = asyncio.get_running_loop(), self._lines[direction]
        while True:
            await line.open.wait()
            data = await loop.sock_recv(origin, _CHUNK)
            await line.open.wait()
            if line.delay:
                await asyncio.sleep(line.delay)
            if line.dropping or direction in self._ended:
                line.dropped += len(data)
                if not data:
                    return
                continue
            if not data:
                self.half_close(direction)
                return
            await self._write(line, to, data)

    async def _write(self, line: _Line, to: socket.socket, data: bytes) -> None:
        loop, size = asyncio.get_running_loop(), line.split or len(data)
        for start in range(0, len(data), size):
            await line.open.wait()
            piece = data[start : start + size]
            await loop.sock_sendall(to, piece)
            line.carried += len(piece)
            if line.split:
                await asyncio.sleep(0)  # a reader in this loop gets to read the piece before the next one comes


class FaultProxy:
    """Listens on a free port of 127.0.0.1 (or on `port`) and passes every connection on to `target`."""

    def __init__(self, target: tuple[str, int], *, port: int = 0) -> None:
        self.target = target
        self._lines: dict[Direction, _Line] = {direction: _Line() for direction in _DIRECTIONS}
        self._links: set[_Link] = set()
        self._empty = asyncio.Event()
        self._wanted_port = port
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    # -- where it is ---------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to. RuntimeError when it does not listen."""
        if self._listener is None:
            raise RuntimeError("the proxy does not listen; use it as `async with FaultProxy(target) as proxy`")
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    @property
    def port(self) -> int:
        """The port of `address`."""
        return self.address[1]

    def url(self, path: str = "/ws") -> str:
        """The WebSocket url of a path behind the proxy."""
        return f"ws://{self.address[0]}:{self.port}{path}"

    @property
    def links(self) -> int:
        """How many connections it carries now."""
        return len(self._links)

    async def emptied(self) -> None:
        """Returns when it carries no connection."""
        while self._links:
            self._empty.clear()
            await self._empty.wait()

    def carried(self, direction: Direction) -> int:
        """How many bytes have been passed on."""
        return self._lines[direction].carried

    def dropped(self, direction: Direction) -> int:
        """How many bytes have been thrown away."""
        return self._lines[direction].dropped

    # -- faults --------------------------------------------------------------------------------------

    def delay(self, direction: Direction | None = None, seconds: float = 0.05) -> None:
        """Every chunk waits so long before it is passed on, and the next is not read before that."""
        self._set(direction, lambda line: setattr(line, "delay", seconds))

    def split(self, direction: Direction | None = None, size: int = 1) -> None:
        """What comes is passed on in pieces of at most `size` bytes, each in a write of its own."""
        if size < 1:
            raise ValueError(f"size: expected at least 1 byte, got {size}")
        self._set(direction, lambda line: setattr(line, "split", size))

    def stall(self, direction: Direction | None = None) -> None:
        """Nothing is read or passed on; the sender's buffers fill up. `flow` goes on where it stopped."""
        self._set(direction, lambda line: line.open.clear())

    def drop(self, direction: Direction | None = None) -> None:
        """What comes disappears, an end of the connection too, and the sender learns nothing of it."""
        self._set(direction, lambda line: setattr(line, "dropping", True))

    def flow(self, direction: Direction | None = None) -> None:
        """Ends `delay`, `split`, `stall` and `drop`."""
        self._set(direction, _Line.flow)

    def half_close(self, direction: Direction) -> None:
        """The receiver of this direction sees the end (FIN), on all connections that are there; the other goes on."""
        for link in list(self._links):
            link.half_close(direction)

    def reset(self) -> None:
        """Both sides of all connections that are there see a RST."""
        for link in list(self._links):
            link.reset()

    def hang_up(self) -> None:
        """Both sides of all connections that are there see the end (FIN)."""
        for link in list(self._links):
            link.hang_up()

    # -- life ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._wanted_port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener), name="mycelia-proxy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._accepting, *(link.task for link in self._links)) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._listener is not None:
            self._listener.close()
        self._listener = self._accepting = None

    def _set(self, direction: Direction | None, change: Callable[[_Line], object]) -> None:
        if direction is not None and direction not in _DIRECTIONS:
            raise ValueError(f"expected 'up' or 'down', got {direction!r}")
        for each in _DIRECTIONS if direction is None else (direction,):
            change(self._lines[each])

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            link = _Link(client, self._lines)
            self._links.add(link)
            link.task = loop.create_task(link.run(self.target), name="mycelia-proxy-link")
            link.task.add_done_callback(partial(self._forget, link))

    def _forget(self, link: _Link, task: asyncio.Task[None]) -> None:
        link.close()  # a task that is cancelled before it has begun closes nothing
        self._links.discard(link)
        if not self._links:
            self._empty.set()
