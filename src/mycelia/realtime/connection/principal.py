"""The rights of a connection: its identity where an authenticator found one, else what its handlers wrote down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from mycelia.auth import Identity
from mycelia.kernel.messages.context import Caller, Options, Principal

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["ClientOptions", "ConnectionPrincipal", "WatchedMetadata", "identity_of", "is_renewing"]

_NAMES = ("userId", "user_id", "permissions")
_IDS = frozenset({"userId", "user_id"})


class ConnectionPrincipal:
    """Reads `userId` (or `user_id`) and `permissions` from the metadata, anew each time."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    @property
    def id(self) -> str:
        """Empty for nobody, also where the application wrote None: a token that was not given is no name."""
        given = self._metadata.get("userId")
        given = self._metadata.get("user_id") if given is None else given
        return "" if given is None else str(given)

    @property
    def permissions(self) -> Collection[str]:
        """What is there as a collection; anything else (a text above all) gives no rights."""
        given = self._metadata.get("permissions", ())
        return given if isinstance(given, Collection) and not isinstance(given, str) else ()


class WatchedMetadata(dict[str, Any]):
    """Metadata that calls `renamed(connection)` after every writing by which it may name another principal.

    It does not keep the connection alive, every other writing costs it next to nothing, and a copy is a plain dict.
    """

    __slots__ = ("_connection", "_renamed")

    def __init__(self, connection: WebSocketConnection, renamed: Callable[[WebSocketConnection], None]) -> None:
        super().__init__()
        self._connection, self._renamed = ref(connection), renamed

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._tell(key)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._tell(key)

    def __ior__(self, given: Any) -> WatchedMetadata:  # type: ignore[misc,override]  # of one that dict overloads
        self.update(given)
        return self

    def update(self, *given: Any, **named: Any) -> None:
        try:
            super().update(*given, **named)
        finally:
            self._tell()

    def setdefault(self, key: str, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        self._tell(key)
        return value

    def pop(self, key: str, *default: Any) -> Any:
        value = super().pop(key, *default)
        self._tell(key)
        return value

    def popitem(self) -> tuple[str, Any]:
        item = super().popitem()
        self._tell(item[0])
        return item

    def clear(self) -> None:
        super().clear()
        self._tell()

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)

    def _tell(self, key: str = "userId") -> None:
        if key in _IDS and (connection := self._connection()) is not None:
            self._renamed(connection)


class ClientOptions(Options):
    """The options of a connection's messages: the principal is its identity, else whoever the metadata names now.

    An identity, which an authenticator found, wins over `userId` and `permissions` of the metadata, which are then not
    asked. Without one, somebody who signs in by a message of the application's own has rights from then on, and none
    any more when the application takes them out again; before acceptance there is then no principal.
    `permissions_version` counts the identities that the connection has had.
    """

    __slots__ = ("erred", "identity", "permissions_version", "refused")

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.connection_id = connection.id
        self.caller = self.origin = Caller("client", connection.id)
        self.identity: Identity | None = None
        self.permissions_version = 0
        self.refused = 0  # credentials in a row
        self.erred = False  # any of them, ever

    @property
    def principal(self) -> Principal | None:  # type: ignore[override]  # read-only here, and derived
        if self.identity is not None:
            return self.identity
        connection = self.connection
        if not connection.accepted or not connection.has_metadata:
            return None
        metadata = connection.metadata
        return ConnectionPrincipal(metadata) if any(metadata.get(name) is not None for name in _NAMES) else None

    def limited(self) -> None:
        connection = self.connection
        connection.throttle.limited(connection)


def is_renewing(connection: WebSocketConnection) -> bool:
    """Whether a credential is for the one before, by a client none of whose credentials was refused: no guess."""
    options = connection.options
    return isinstance(options, ClientOptions) and options.identity is not None and not options.erred


def identity_of(connection: WebSocketConnection) -> Identity | None:
    """What an authenticator found out about a connection; None for nothing, and when the connection is forgotten."""
    options = connection.options
    return options.identity if isinstance(options, ClientOptions) else None
