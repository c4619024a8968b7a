"""The rights of a connection, as its handlers wrote them down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from mycelia.kernel.caller import Caller, Options, Principal

if TYPE_CHECKING:
    from mycelia.websocket.connection import WebSocketConnection

__all__ = ["ClientOptions", "ConnectionPrincipal"]

_NAMES = ("userId", "user_id", "permissions")


class ConnectionPrincipal:
    """Reads `userId` (or `user_id`) and `permissions` from the metadata, anew each time."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    @property
    def id(self) -> str:
        return str(self._metadata.get("userId", self._metadata.get("user_id", "")))

    @property
    def permissions(self) -> Collection[str]:
        """What is there as a collection; anything else (a text above all) gives no rights."""
        given = self._metadata.get("permissions", ())
        return given if isinstance(given, Collection) and not isinstance(given, str) else ()


class ClientOptions(Options):
    """The options of a connection's messages: the principal is whoever the metadata names now.

    So somebody who signs in by a message after `connect` has rights from then on, and none any more when the
    application takes them out again. Before acceptance there is no principal.
    """

    __slots__ = ()

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.connection_id = connection.id
        self.caller = self.origin = Caller("client", connection.id)

    @property
    def principal(self) -> Principal | None:  # type: ignore[override]  # read-only here, and derived
        connection = self.connection
        if not connection.accepted or not connection.has_metadata:
            return None
        metadata = connection.metadata
        return ConnectionPrincipal(metadata) if any(name in metadata for name in _NAMES) else None
