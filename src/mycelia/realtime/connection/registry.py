"""The registry of connections: all links of one subsystem by id, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from mycelia.errors import ConfigError
from mycelia.net.address import Tally, address_key
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import ConnectionState, WebSocketConnection
from mycelia.realtime.connection.encoder import Encoder
from mycelia.realtime.connection.link import Link

__all__ = ["ConnectionRegistry"]

_INTERVAL = 0.02  # seconds between two checks of which connections are left


class ConnectionRegistry:
    """Every link from its handshake until its `disconnect` has run.

    Open links are visible to applications and broadcasts, and are indexed by their encoder. Pending and closing links
    are found by id only. Pending and open links count against `max_connections`.

    A link is *closing with pending requests* when its client sent a Close after requests that are still being handled.
    It no longer counts against `max_connections`; a separate limit of the same size applies.
    """

    __slots__ = (
        "_all", "_closing_with_requests", "_closing_with_requests_by_address", "_left", "_open", "_open_count",
        "_principals", "_reserved", "by_address", "by_principal", "limit",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._all: dict[str, Link] = {}
        self._open: dict[Encoder, dict[str, Link]] = {}
        self._open_count = 0
        self._reserved: set[Link] = set()
        self._closing_with_requests: set[Link] = set()
        self._closing_with_requests_by_address = Tally()
        self._principals: dict[Link, str] = {}
        self.by_address = Tally()
        self.by_principal = Tally()
        self._left = asyncio.Event()  # set when the last link of a kind leaves; cleared before each wait

    @property
    def is_full(self) -> bool:
        """True if another handshake would exceed the limit."""
        return len(self._reserved) >= self.limit

    # -- the life of a link ----------------------------------------------------------------------------

    def add(self, link: Link) -> None:
        """Register the link of an accepted handshake.

        Raises:
            ConfigError: The application generated an id that is in use.
        """
        if link.id in self._all:
            problem = f"expected a unique id, got {link.id!r} for a second connection"
            raise ConfigError("connection.generate_connection_id", problem)
        self._all[link.id] = link
        self._reserved.add(link)
        self.by_address.add(address_key(link.session.client.remote_address))

    def claim(self, link: Link, principal_id: str, most: int) -> bool:
        """Count a link for this principal (empty for none) instead of its previous one.

        Returns:
            False if the principal has `most` connections already; the link then stays counted as before.
        """
        held = self._principals.get(link, "")
        if held == principal_id:
            return True
        if principal_id and self.by_principal[principal_id] >= most:
            return False
        self._release_claim(link)
        if principal_id and link in self._reserved:
            self._principals[link] = principal_id
            self.by_principal.add(principal_id)
        return True

    def publish(self, link: Link) -> None:
        """Make an accepted link visible to applications and broadcasts."""
        links = self._open.get(link.encoder)
        if links is None:
            links = self._open[link.encoder] = {}
        self._open_count += link.id not in links
        links[link.id] = link

    def unpublish(self, link: Link) -> None:
        """Hide a link that is closing. Does nothing if the link is not visible."""
        links = self._open.get(link.encoder)
        if links is not None and links.pop(link.id, None) is not None:
            self._open_count -= 1
            if not links:
                del self._open[link.encoder]

    def leave(self, link: Link) -> None:
        """Stop counting a link whose transport is gone. The link can still be found by id."""
        self.unpublish(link)
        if link in self._reserved:
            self._reserved.discard(link)
            self.by_address.remove(address_key(link.session.client.remote_address))
            self._release_claim(link)
        if not self._reserved:
            self._left.set()

    def leave_with_requests(self, link: Link, most_per_address: int) -> bool:
        """Stop counting a link whose client sent a Close after requests that are still being handled.

        Args:
            link: The link.
            most_per_address: The most such links of one address; 0 for no limit.

        Returns:
            True if the requests may be finished, until `finish_requests`. False if too many links are in this state.
        """
        self.leave(link)
        address = address_key(link.session.client.remote_address)
        if len(self._closing_with_requests) >= self.limit:
            return False
        if most_per_address and self._closing_with_requests_by_address[address] >= most_per_address:
            return False
        self._closing_with_requests.add(link)
        self._closing_with_requests_by_address.add(address)
        return True

    def finish_requests(self, link: Link) -> None:
        """Record that the requests of a link that is closing with pending requests have been handled."""
        if link in self._closing_with_requests:
            self._closing_with_requests.discard(link)
            self._closing_with_requests_by_address.remove(address_key(link.session.client.remote_address))
            self._left.set()

    def forget(self, link: Link) -> None:
        """Remove a link whose `disconnect` has run."""
        self.leave(link)
        self.finish_requests(link)
        if self._all.get(link.id) is link:
            del self._all[link.id]

    def _release_claim(self, link: Link) -> None:
        held = self._principals.pop(link, None)
        if held is not None:
            self.by_principal.remove(held)

    # -- looking up ------------------------------------------------------------------------------------

    def get(self, connection_id: str) -> Link | None:
        """Return the link of that id, pending and closing ones included."""
        return self._all.get(connection_id)

    def encoders(self) -> list[Encoder]:
        """Return the encoders of the open links."""
        return list(self._open)

    def open_by_encoder(self) -> list[tuple[Encoder, list[Link]]]:
        """Return a snapshot of the open links, grouped by encoder."""
        return [(encoder, list(links.values())) for encoder, links in self._open.items()]

    def open_links(self) -> list[Link]:
        """Return a snapshot of the open links."""
        return [link for links in self._open.values() for link in links.values()]

    def open_connections(self) -> list[WebSocketConnection]:
        """Return a snapshot of the open connections."""
        return [link.session for links in self._open.values() for link in links.values()]

    def with_transport(self) -> list[Link]:
        """Return a snapshot of the links that still have a transport."""
        return [link for link in self._all.values() if link.state is not ConnectionState.CLOSED]

    def with_requests(self) -> list[Link]:
        """Return a snapshot of the links whose handlers may run: with a transport, or closing with requests."""
        return [*self.with_transport(), *self._closing_with_requests]

    def __len__(self) -> int:
        return self._open_count

    def __iter__(self) -> Iterator[Link]:
        return iter(self.open_links())

    # -- waiting ---------------------------------------------------------------------------------------

    async def wait_for_requests(self, seconds: float) -> None:
        """Wait until no link is closing with pending requests, for at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._closing_with_requests:
                    self._left.clear()
                    await self._left.wait()

    async def wait_for_transports(self, seconds: float) -> None:
        """Wait until a transport of the last links is gone, for at most `seconds`."""
        self._left.clear()
        if self.with_transport():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await self._left.wait()

    async def close(self, seconds: float, which: Callable[[Link], bool]) -> None:
        """Close the links that `which` selects (1001); wait until they are gone, for at most `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for link in filter(which, self.with_transport()):
            link.close(Close.GOING_AWAY, "the server is stopping")
        while any(map(which, self.with_transport())) and loop.time() < end:
            await self.wait_for_transports(min(_INTERVAL, end - loop.time()))
