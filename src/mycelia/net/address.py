"""Who a network peer is when addresses are counted: an IPv4 address, or the /64 that an IPv6 one lies in.

A site is given whole /64s, so one host has 2^64 addresses there and a table by single ones would limit nobody.
Behind a reverse proxy every peer is the proxy; where its address is listed as trusted, the client is whom it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mycelia.protocol.http.forwarded import read_hops
from mycelia.protocol.http.request import Handshake

__all__ = ["UNIX", "Proxies", "Tally", "address_key"]

UNIX = "unix"  # stands for peers over a socket in the file system
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
    """The reverse proxies that are believed: addresses, networks (`10.0.0.0/8`), and `unix` for any peer without one.

    `way` says which headers they write: `x-forwarded`, or `forwarded` (RFC 7239). The other ones are the client's own.
    """

    __slots__ = ("_networks", "_unix", "_way")

    def __init__(self, networks: Sequence[str], way: str = "x-forwarded") -> None:
        """Raises ValueError for what is no address and no network."""
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in networks if each != UNIX]
        self._unix = UNIX in networks
        self._way = way

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, host: str | None) -> bool:
        """Whether `host` is one of them; without an address it is a peer over a socket in the file system."""
        if not host:
            return self._unix
        address = _parse(host)
        return address is not None and any(address in network for network in self._networks)

    def unveil(self, request: Handshake) -> Handshake:
        """The handshake as from the client: the last address that no proxy of ours has, and what it speaks.

        What stands before that address was written by whoever has it, and is not believed. BadHandshake for a
        `Forwarded` that nobody can read.
        """
        client = request.remote[0] if request.remote else None
        if not self.trusts(client):
            return request
        secure = request.secure
        for hop in reversed(read_hops(request.headers, self._way)[-_HOPS:]):
            if hop.proto is not None:
                secure = hop.proto in ("https", "wss")
            address = _parse(hop.client)
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        remote = request.remote if client is None or (request.remote or ("",))[0] == client else (client, 0)
        if remote == request.remote and secure is request.secure:
            return request
        return replace(request, remote=remote, secure=secure)


def _parse(host: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
