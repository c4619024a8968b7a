"""The connection manager: who is here, by id, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from mycelia.errors import ConfigError
from mycelia.net.address import Tally, address_key
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.state import Phase

__all__ = ["Connections"]

_STEP = 0.02  # seconds between two looks at who is left


class Connections:
    """Every connection from its handshake until its `disconnect` has run.

    Open ones are seen by everybody. Pending and departing ones are found by id only, and pending ones count
    against `max_connections`. Those whose client said goodbye behind requests are *parting*: they have no place any
    more, and are bounded by themselves.
    """

    __slots__ = (
        "_all", "_claims", "_open", "_parting", "_parting_by_address", "_reserved", "by_address", "by_principal",
        "emptied", "limit",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._all: dict[str, WebSocketConnection] = {}
        self._open: dict[str, WebSocketConnection] = {}
        self._reserved: set[WebSocketConnection] = set()
        self._parting: set[WebSocketConnection] = set()
        self._parting_by_address = Tally()
        self._claims: dict[WebSocketConnection, str] = {}
        self.by_address = Tally()
        self.by_principal = Tally()
        self.emptied = asyncio.Event()  # set when the last transport or parting one goes; cleared by whoever waits

    @property
    def full(self) -> bool:
        """Whether another handshake would exceed the limit."""
        return len(self._reserved) >= self.limit

    def add(self, connection: WebSocketConnection) -> None:
        """A handshake was accepted. Raises ConfigError for an id that is taken: ids must be unique."""
        if connection.id in self._all:
            raise ConfigError("connection.generate_connection_id", f"gave {connection.id!r} twice")
        self._all[connection.id] = connection
        self._reserved.add(connection)
        self.by_address.add(address_key(connection.client.remote_address))

    def claim(self, connection: WebSocketConnection, principal_id: str, most: int) -> bool:
        """Counts it for this principal (empty: for none) and no longer for another; False when that has `most`."""
        held = self._claims.get(connection, "")
        if held == principal_id:
            return True
        if principal_id and self.by_principal[principal_id] >= most:
            return False
        self._disclaim(connection)
        if principal_id and connection in self._reserved:
            self._claims[connection] = principal_id
            self.by_principal.add(principal_id)
        return True

    def _disclaim(self, connection: WebSocketConnection) -> None:
        held = self._claims.pop(connection, None)
        if held is not None:
            self.by_principal.remove(held)

    def show(self, connection: WebSocketConnection) -> None:
        """`connect` accepted it."""
        self._open[connection.id] = connection

    def hide(self, connection: WebSocketConnection) -> None:
        """It is closing: nobody is to write to it any more."""
        self._open.pop(connection.id, None)

    def part(self, connection: WebSocketConnection, most: int) -> bool:
        """As `leave`. Whether what its client has sent may still be worked off, until `parted`: of no more connections
        at a time than there may be, in all and (`most`; 0 for any number) of one address.
        """
        self.leave(connection)
        address = address_key(connection.client.remote_address)
        if len(self._parting) >= self.limit or (most and self._parting_by_address[address] >= most):
            return False
        self._parting.add(connection)
        self._parting_by_address.add(address)
        return True

    def parted(self, connection: WebSocketConnection) -> None:
        """What its client has sent is worked off."""
        if connection in self._parting:
            self._parting.discard(connection)
            self._parting_by_address.remove(address_key(connection.client.remote_address))
            self.emptied.set()

    def leave(self, connection: WebSocketConnection) -> None:
        """Its transport is gone: its place is free, and it can still be read by id."""
        self.hide(connection)
        if connection in self._reserved:
            self._reserved.discard(connection)
            self.by_address.remove(address_key(connection.client.remote_address))
            self._disclaim(connection)
        if not self._reserved:
            self.emptied.set()

    def forget(self, connection: WebSocketConnection) -> None:
        """Its `disconnect` has run."""
        self.leave(connection)
        self.parted(connection)
        if self._all.get(connection.id) is connection:
            del self._all[connection.id]

    def get(self, connection_id: str) -> WebSocketConnection | None:
        """The connection of that id, pending and departing ones included."""
        return self._all.get(connection_id)

    def open(self) -> list[WebSocketConnection]:
        """A snapshot of the open ones."""
        return list(self._open.values())

    def living(self) -> list[WebSocketConnection]:
        """A snapshot of all that still have a transport."""
        return [each for each in self._all.values() if each.phase is not Phase.CLOSED]

    def working(self) -> list[WebSocketConnection]:
        """A snapshot of all for which handlers may run: the living and the parting."""
        return [*self.living(), *self._parting]

    async def wait_until_parted(self, seconds: float) -> None:
        """Returns when none is parting, and after `seconds` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._parting:
                    self.emptied.clear()
                    await self.emptied.wait()

    async def wait_until_left(self, seconds: float) -> None:
        """Returns when none has a transport, and after `seconds` at the latest."""
        self.emptied.clear()
        if self.living():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await self.emptied.wait()

    async def close(self, seconds: float, which: Callable[[WebSocketConnection], bool]) -> None:
        """Closes those (1001); returns when they are gone, and after `seconds` at the latest."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for connection in filter(which, self.living()):
            connection.close(Close.GOING_AWAY, "the server is stopping")
        while any(map(which, self.living())) and loop.time() < end:
            await self.wait_until_left(min(_STEP, end - loop.time()))

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[WebSocketConnection]:
        return iter(self.open())
