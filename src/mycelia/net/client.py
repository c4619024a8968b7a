"""What is kept of a handshake for as long as the connection lives: little, and nothing secret."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern

import msgspec

from mycelia.kernel.messages.message import valid_trace_id
from mycelia.net.address import address_key
from mycelia.protocol.http.request import Handshake, redact

__all__ = ["ClientInfo"]


class ClientInfo(msgspec.Struct, frozen=True, gc=False):
    """Remote address, path, subprotocol, origin, engine, and the headers that the configuration keeps.

    `secure` says whether the client speaks TLS, to us or to a trusted proxy. Cookies, credentials and bearer
    subprotocols are never here. `trace_id` is the handshake's `x-trace-id`: the trace of every request that brings
    none of its own.
    """

    engine: str
    remote_address: str | None
    path: str
    subprotocol: str | None
    origin: str | None
    headers: tuple[tuple[str, str], ...] = ()
    trace_id: str | None = None
    secure: bool = False

    @classmethod
    def of(cls, request: Handshake, engine: str, subprotocol: str | None, keep: tuple[str, ...]) -> ClientInfo:
        """What is kept of `request`."""
        headers = request.headers
        names = (name.lower() for name in keep)
        found = ((name, headers.get(name)) for name in names if name not in _SECRET)
        return cls(
            engine,
            request.remote[0] if request.remote else None,
            request.path,
            subprotocol,
            headers.get("origin"),
            tuple((intern(name), redact(value)) for name, value in found if value is not None),
            given if valid_trace_id(given := headers.get("x-trace-id")) else None,
            request.secure,
        )

    @property
    def network(self) -> str:
        """What it is counted under where addresses are counted: of an IPv6 address the /64."""
        return address_key(self.remote_address)

    def header(self, name: str) -> str | None:
        """A kept header by its lower-case name."""
        return next((value for known, value in self.headers if known == name), None)

    def describe(self) -> Mapping[str, object]:
        """As a mapping, for logs and for people."""
        return {**msgspec.structs.asdict(self), "headers": dict(self.headers)}


_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "sec-websocket-protocol"})
