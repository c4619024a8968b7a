"""One connection through a fault proxy, and the faults of its two directions."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final, Literal

__all__ = ["DIRECTIONS", "Direction", "DirectionState", "ProxiedConnection"]

Direction = Literal["up", "down"]

DIRECTIONS: Final[tuple[Direction, Direction]] = ("up", "down")
_CHUNK: Final = 64 * 1024  # bytes
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST


class DirectionState:
    """The faults of one direction, for all connections, and counters of its bytes."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.split = 0
        self.dropping = False
        self.open = asyncio.Event()
        self.open.set()
        self.carried = self.dropped = 0

    def flow(self) -> None:
        """Remove all faults."""
        self.delay, self.split, self.dropping = 0.0, 0, False
        self.open.set()


class ProxiedConnection:
    """A client's connection, and the connection to the server that belongs to it."""

    def __init__(self, client: socket.socket, states: dict[Direction, DirectionState]) -> None:
        self._client, self._states = client, states
        self._server = socket.socket(socket.AF_INET6 if client.family is socket.AF_INET6 else socket.AF_INET)
        self._ended: set[Direction] = set()  # directions whose FIN was sent
        self.task: asyncio.Task[None] | None = None

    async def run(self, target: tuple[str, int]) -> None:
        """Pass bytes on until both sides have ended. An error on one side resets the other side."""
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
        """Close both sockets."""
        self._client.close()
        self._server.close()

    def reset(self) -> None:
        """Send RST to both sides."""
        self._linger()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection on both sides."""
        if self.task is not None:
            self.task.cancel()

    def half_close(self, direction: Direction) -> None:
        """Send FIN to the receiver of this direction. The other direction stays open."""
        to = self._server if direction == "up" else self._client
        if direction not in self._ended:
            self._ended.add(direction)
            with suppress(OSError):  # the socket is closed already, or not connected yet
                to.shutdown(socket.SHUT_WR)

    def _linger(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def _pump(self, direction: Direction, origin: socket.socket, to: socket.socket) -> None:
        loop, state = asyncio.get_running_loop(), self._states[direction]
        while True:
            await state.open.wait()
            data = await loop.sock_recv(origin, _CHUNK)
            await state.open.wait()
            if state.delay:
                await asyncio.sleep(state.delay)
            if state.dropping or direction in self._ended:
                state.dropped += len(data)
                if not data:
                    return
                continue
            if not data:
                self.half_close(direction)
                return
            await self._write(state, to, data)

    async def _write(self, state: DirectionState, to: socket.socket, data: bytes) -> None:
        loop, size = asyncio.get_running_loop(), state.split or len(data)
        for start in range(0, len(data), size):
            await state.open.wait()
            piece = data[start : start + size]
            await loop.sock_sendall(to, piece)
            state.carried += len(piece)
            if state.split:
                await asyncio.sleep(0)  # lets a reader in this loop read each piece by itself
