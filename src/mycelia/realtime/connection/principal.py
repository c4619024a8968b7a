"""The rights of a connection: the identity that an authenticator found, else what handlers wrote into its metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from mycelia.auth import Identity
from mycelia.kernel.messages.context import Caller, Options, Principal

__all__ = ["ClientOptions", "ConnectionPrincipal", "PrincipalSource", "WatchedMetadata", "identity_of", "is_renewing"]

_NAMES = ("userId", "user_id", "permissions")
_IDS = frozenset({"userId", "user_id"})


class RateLimitReport(Protocol):
    """What counts the messages that the rate limit of a route refused; the link of a connection."""

    def report_rate_limited(self) -> None:
        """Count one refused message."""


class PrincipalSource(Protocol):
    """The part of a connection from which its principal is derived."""

    id: str
    accepted: bool

    @property
    def link(self) -> RateLimitReport: ...

    @property
    def has_metadata(self) -> bool: ...

    @property
    def metadata(self) -> dict[str, Any]: ...


class OptionsHolder(Protocol):
    """Anything with the options of a connection."""

    @property
    def options(self) -> Options: ...


class ConnectionPrincipal:
    """Read `userId` (or `user_id`) and `permissions` from the metadata, anew at each access."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    @property
    def id(self) -> str:
        """The principal's id; empty if the metadata names none. None counts as no name: a token was not given."""
        given = self._metadata.get("userId")
        given = self._metadata.get("user_id") if given is None else given
        return "" if given is None else str(given)

    @property
    def permissions(self) -> Collection[str]:
        """The permissions in the metadata. A value that is no collection, above all a string, gives no rights."""
        given = self._metadata.get("permissions", ())
        return given if isinstance(given, Collection) and not isinstance(given, str) else ()


Holder = TypeVar("Holder")


class WatchedMetadata(dict[str, Any], Generic[Holder]):
    """Metadata that calls `renamed(holder)` after each write that may name another principal.

    The mapping does not keep its holder, a connection, alive. Other writes cost one set look-up. A copy is a plain
    dict.
    """

    __slots__ = ("_holder", "_renamed")

    def __init__(self, holder: Holder, renamed: Callable[[Holder], None]) -> None:
        super().__init__()
        self._holder, self._renamed = ref(holder), renamed

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._tell(key)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._tell(key)

    def __ior__(self, given: Any) -> WatchedMetadata[Holder]:  # type: ignore[misc,override]  # dict overloads it
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
        if key in _IDS and (holder := self._holder()) is not None:
            self._renamed(holder)


class ClientOptions(Options):
    """The options of a connection's messages.

    The principal is the connection's identity, which an authenticator found. Without an identity, the metadata names
    the principal at the moment of the access. A client that signs in by a message of the application therefore has
    rights until the application removes them. Metadata counts only after acceptance.

    Attributes:
        identity: The identity that an authenticator found, or None. It wins over the metadata.
        permissions_version: The number of identities that the connection has had.
        rejected_in_a_row: The number of credentials that were rejected since the last good one.
        has_failed_authentication: True if any credential of this connection was ever rejected.
    """

    __slots__ = ("has_failed_authentication", "identity", "permissions_version", "rejected_in_a_row")

    def __init__(self, connection: PrincipalSource) -> None:
        self.connection = connection
        self.connection_id = connection.id
        self.caller = self.origin = Caller("client", connection.id)
        self.identity: Identity | None = None
        self.permissions_version = 0
        self.rejected_in_a_row = 0
        self.has_failed_authentication = False

    @property
    def principal(self) -> Principal | None:  # type: ignore[override]  # read-only here, and derived
        """The identity, else the principal that the metadata names, else None."""
        if self.identity is not None:
            return self.identity
        connection = self.connection
        if not connection.accepted or not connection.has_metadata:
            return None
        metadata = connection.metadata
        return ConnectionPrincipal(metadata) if any(metadata.get(name) is not None for name in _NAMES) else None

    def limited(self) -> None:
        """Count a message that the rate limit of a route refused."""
        self.connection.link.report_rate_limited()


def is_renewing(holder: OptionsHolder) -> bool:
    """Return True if the connection has an identity and none of its credentials was ever rejected.

    A credential from such a connection renews the identity; it is not a guess.
    """
    options = holder.options
    return isinstance(options, ClientOptions) and options.identity is not None and not options.has_failed_authentication


def identity_of(holder: OptionsHolder) -> Identity | None:
    """Return the identity that an authenticator found; None if there is none or the connection was released."""
    options = holder.options
    return options.identity if isinstance(options, ClientOptions) else None
