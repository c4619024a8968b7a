"""Who a network peer is when addresses are counted: an IPv4 address, or the /64 that an IPv6 one lies in.

A site is given whole /64s, so one host has 2^64 addresses there and a table by single ones would limit nobody.
Behind a reverse proxy every peer is the proxy; where its address is listed as trusted, the client is whom it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mycelia.protocol.handshake import Handshake

__all__ = ["Proxies", "Tally", "address_key"]

_HOPS = 32  # more proxies than this in a row are none


def address_key(host: str | None) -> str:
    """What connections from `host` are counted under; empty for a socket without addresses."""
    if not host or ":" not in host:
        return host or ""
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Tally:
    """How many there are of each key; a key of which there is none takes no room."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __getitem__(self, key: str) -> int:
        return self._counts[key]

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: str) -> int:
        """One more; returns how many there are now."""
        self._counts[key] += 1
        return self._counts[key]

    def remove(self, key: str) -> None:
        """One fewer."""
        left = self._counts[key] - 1
        if left > 0:
            self._counts[key] = left
        else:
            del self._counts[key]


class Proxies:
    """The reverse proxies whose `X-Forwarded-For` is believed: addresses and networks (`10.0.0.0/8`)."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises ValueError for what is no address and no network."""
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, host: str | None) -> bool:
        """Whether `host` is one of them."""
        address = _parse(host)
        return address is not None and any(address in network for network in self._networks)

    def unveil(self, request: Handshake) -> Handshake:
        """The handshake as from the client: the last address of the header that no proxy of ours has.

        What stands before it was written by whoever sent it, and is not believed.
        """
        if request.remote is None or not self.trusts(request.remote[0]):
            return request
        named = ",".join(request.headers.lines("x-forwarded-for")).split(",")
        client = request.remote[0]
        for hop in reversed(named[-_HOPS:]):
            address = _parse(hop.strip(" \t"))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return replace(request, remote=(client, 0)) if client != request.remote[0] else request


def _parse(host: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
