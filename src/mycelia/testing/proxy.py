"""A TCP proxy that simulates a bad network between a client and a server, for tests.

    async with FaultProxy(("127.0.0.1", port)) as proxy:
        proxy.split("up", 1)                    # the server gets every byte by itself
        await client.connect(proxy.url("/ws"))
        proxy.stall("down")                     # from now on the client reads nothing

`up` is from client to server, `down` is back. A call without a direction means both. A fault applies to open and
future connections, until `flow` removes it. A connection holds at most one chunk (64 KiB) in each direction. A sender
into a stalled direction is therefore blocked, as by a slow network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from mycelia.testing.proxied_connection import DIRECTIONS, Direction, DirectionState, ProxiedConnection

__all__ = ["FaultProxy"]

_BACKLOG: Final = 1024


class FaultProxy:
    """A proxy on 127.0.0.1 that passes every connection on to a server.

    Args:
        target: The address of the server.
        port: The port to listen on, or 0 for a free one.
    """

    def __init__(self, target: tuple[str, int], *, port: int = 0) -> None:
        self.target = target
        self._states: dict[Direction, DirectionState] = {direction: DirectionState() for direction in DIRECTIONS}
        self._connections: set[ProxiedConnection] = set()
        self._empty = asyncio.Event()
        self._wanted_port = port
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    # -- address -------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """The address for clients.

        Raises:
            RuntimeError: The proxy does not listen.
        """
        if self._listener is None:
            raise RuntimeError("the proxy does not listen; use it as `async with FaultProxy(target) as proxy`")
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    @property
    def port(self) -> int:
        """The port for clients."""
        return self.address[1]

    def url(self, path: str = "/ws") -> str:
        """Return a WebSocket URL that leads through the proxy.

        Args:
            path: The path on the server.
        """
        return f"ws://{self.address[0]}:{self.port}{path}"

    @property
    def links(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    def carried(self, direction: Direction) -> int:
        """Return the number of bytes that were passed on.

        Args:
            direction: `"up"` or `"down"`.
        """
        return self._states[direction].carried

    def dropped(self, direction: Direction) -> int:
        """Return the number of bytes that were dropped.

        Args:
            direction: `"up"` or `"down"`.
        """
        return self._states[direction].dropped

    # -- faults --------------------------------------------------------------------------------------

    def delay(self, direction: Direction | None = None, seconds: float = 0.05) -> None:
        """Hold back every chunk before it is passed on and the next one is read.

        Args:
            direction: `"up"`, `"down"` or None for both.
            seconds: The delay of each chunk.
        """
        self._set(direction, lambda state: setattr(state, "delay", seconds))

    def split(self, direction: Direction | None = None, size: int = 1) -> None:
        """Pass on pieces of at most `size` bytes, each in a write of its own.

        Args:
            direction: `"up"`, `"down"` or None for both.
            size: The largest piece in bytes.

        Raises:
            ValueError: The size is less than 1.
        """
        if size < 1:
            raise ValueError(f"size: expected at least 1 byte, got {size}")
        self._set(direction, lambda state: setattr(state, "split", size))

    def stall(self, direction: Direction | None = None) -> None:
        """Stop reading and writing, so that the sender's buffers fill up. After `flow` no byte is missing.

        Args:
            direction: `"up"`, `"down"` or None for both.
        """
        self._set(direction, lambda state: state.open.clear())

    def drop(self, direction: Direction | None = None) -> None:
        """Discard all bytes, and the end of the connection too. The sender does not notice.

        Args:
            direction: `"up"`, `"down"` or None for both.
        """
        self._set(direction, lambda state: setattr(state, "dropping", True))

    def flow(self, direction: Direction | None = None) -> None:
        """End `delay`, `split`, `stall` and `drop`.

        Args:
            direction: `"up"`, `"down"` or None for both.
        """
        self._set(direction, DirectionState.flow)

    def half_close(self, direction: Direction) -> None:
        """Send FIN to the receiver of this direction on all open connections. The other direction stays open.

        Args:
            direction: `"up"` or `"down"`.
        """
        for connection in list(self._connections):
            connection.half_close(direction)

    def reset(self) -> None:
        """Send RST to both sides of all open connections."""
        for connection in list(self._connections):
            connection.reset()

    def hang_up(self) -> None:
        """Send FIN to both sides of all open connections."""
        for connection in list(self._connections):
            connection.hang_up()

    # -- life ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._wanted_port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener), name="mycelia-proxy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._accepting, *(each.task for each in self._connections)) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._listener is not None:
            self._listener.close()
        self._listener = self._accepting = None

    def _set(self, direction: Direction | None, change: Callable[[DirectionState], object]) -> None:
        if direction is not None and direction not in DIRECTIONS:
            raise ValueError(f"expected 'up' or 'down', got {direction!r}")
        for each in DIRECTIONS if direction is None else (direction,):
            change(self._states[each])

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            connection = ProxiedConnection(client, self._states)
            self._connections.add(connection)
            connection.task = loop.create_task(connection.run(self.target), name="mycelia-proxy-connection")
            connection.task.add_done_callback(partial(self._forget, connection))

    def _forget(self, connection: ProxiedConnection, task: asyncio.Task[None]) -> None:
        connection.close()  # the task may have been cancelled before its first step
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
