"""Every error that Mycelia raises, as one tree.

Each class says who is to blame (`blame`: the local program or the remote peer), which code of the wire
language stands for it (`code`, see `mycelia.protocol.wire.codes`) and whether trying the same thing again
may help (`retryable`). Fields are stored first and the text is derived from them, so a caller never
has to parse a message. The text is for the operator; what may be told to a client is `details`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import ClassVar, Literal

__all__ = [
    "BuildError",
    "ConfigError",
    "ConnectionNotFound",
    "Disabled",
    "Disposed",
    "EngineError",
    "Forbidden",
    "HandlerError",
    "InvalidBody",
    "InvalidMessage",
    "InvalidPath",
    "MessageTooLarge",
    "MyceliaError",
    "NoCredential",
    "NoRoute",
    "NoSuchSubsystem",
    "NotRunning",
    "Overloaded",
    "RateLimited",
    "RequestTimeout",
    "RouteError",
    "SignatureError",
    "Unauthorized",
    "Unavailable",
    "Untimely",
]

Blame = Literal["local", "remote"]


class MyceliaError(Exception):
    """The root of the tree; catching it catches everything that Mycelia itself raises."""

    code: str = "WEBSOCKET_ERROR"
    blame: ClassVar[Blame] = "local"
    retryable: bool = False

    passed_on: bool = False
    """Whether it came out of a message that a handler sent: then it is the handler's affair, not its caller's."""

    @property
    def details(self) -> Mapping[str, object] | None:
        """What a remote caller may learn and act on; None when there is nothing."""
        return None


class ConfigError(MyceliaError):
    """A setting is unknown, of the wrong type or out of range; `key` names it."""

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}")


class BuildError(MyceliaError):
    """A subsystem could not be built; what had been built was rolled back."""

    def __init__(self, subsystem: str, problem: str) -> None:
        self.subsystem, self.problem = subsystem, problem
        super().__init__(f"cannot build subsystem {subsystem!r}: {problem}")


class RouteError(MyceliaError):
    """A route cannot be registered as given (its path is wrong, taken, or owned by someone else)."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"route {path!r}: {problem}")


class SignatureError(RouteError):
    """A handler's signature does not fit its path; `parameter` names the parameter."""

    def __init__(self, path: str, parameter: str, problem: str) -> None:
        self.parameter = parameter
        super().__init__(path, f"parameter {parameter!r} {problem}")


class EngineError(MyceliaError):
    """An engine cannot do what is asked of it (unknown, missing library, unknown option)."""


class NotRunning(MyceliaError):
    """The server must be running for this and is not, or must not be and is."""


class NoSuchSubsystem(MyceliaError):
    """No built subsystem of that name is registered with the system."""

    code = "NOT_FOUND"
    blame = "remote"

    def __init__(self, name: str, path: str, known: Iterable[str] = ()) -> None:
        self.name, self.path, self.known = name, path, tuple(sorted(known))
        super().__init__(f"no subsystem {name!r} for path {path!r}; known: {', '.join(self.known) or 'none'}")


class NoRoute(MyceliaError):
    """The subsystem exists and has no route for the path."""

    code = "NOT_FOUND"
    blame = "remote"

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"no route for path {path!r}")


class InvalidPath(MyceliaError):
    """A path is not `subsystem://segment/…`, or a parameter of it has a forbidden or unconvertible value.

    `route` is the route whose parameter it is, where one was found.
    """

    code = "INVALID_PATH"
    blame = "remote"
    route: object = None

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"path {path!r}: {problem}")

    @property
    def details(self) -> Mapping[str, object]:
        return {"problem": self.problem}


class InvalidMessage(MyceliaError):
    """A message cannot be understood or cannot be encoded."""

    code = "INVALID_MESSAGE"
    blame: ClassVar[Blame] = "remote"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)

    @property
    def details(self) -> Mapping[str, object]:
        return {"problem": self.problem}


class MessageTooLarge(InvalidMessage):
    """A message to clients is larger than the configuration allows; nobody was sent it."""

    blame = "local"

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(f"expected a message of at most {limit} bytes (limits.outbound_bytes), got {size}")


class InvalidBody(MyceliaError):
    """A body does not validate into the handler's annotation; `at` is the JSON path of the fault."""

    code = "INVALID_BODY"
    blame = "remote"

    def __init__(self, problem: str, at: str = "$") -> None:
        self.problem, self.at = problem, at
        super().__init__(f"{problem} (at {at})")

    @property
    def details(self) -> Mapping[str, object]:
        return {"problem": self.problem, "at": self.at}


class Unauthorized(MyceliaError):
    """The caller is not known; raised by a `connect` handler it closes the connection with 4401."""

    code = "UNAUTHORIZED"
    blame = "remote"


class NoCredential(Unauthorized):
    """The caller showed nothing that could be judged; where signing in is optional it is let in unknown."""


class Untimely(Unauthorized):
    """A genuine credential whose time is over, or has not come: no guess, and not counted as a failed login."""


class Unavailable(MyceliaError):
    """Something that is needed to decide cannot be reached; nothing was done, and later it may work."""

    code = "OVERLOADED"
    retryable = True


class Forbidden(MyceliaError):
    """The caller is known, or need not be, and may not do this."""

    code = "FORBIDDEN"
    blame = "remote"


class Overloaded(MyceliaError):
    """A bounded queue is full; nothing was done, and later it may work."""

    code = "OVERLOADED"
    retryable = True

    def __init__(self, what: str, limit: int | None = None) -> None:
        self.what, self.limit = what, limit
        super().__init__(what if limit is None else f"{what} (limit {limit})")


class RateLimited(MyceliaError):
    """Too many messages in too little time; nothing was done. `retry_after` is the seconds until it may work."""

    code = "RATE_LIMITED"
    blame = "remote"
    retryable = True

    def __init__(self, what: str, retry_after: float) -> None:
        self.what, self.retry_after = what, retry_after
        super().__init__(f"{what}: too many messages; again in {retry_after:.3f} s")

    @property
    def details(self) -> Mapping[str, object]:
        return {"retryAfterMs": ceil(self.retry_after * 1000)}


class Disabled(MyceliaError):
    """The feature is switched off by the configuration; `setting` names the switch."""

    code = "DISABLED"

    def __init__(self, what: str, setting: str) -> None:
        self.what, self.setting = what, setting
        super().__init__(f"{what} is switched off by {setting}")


class Disposed(MyceliaError):
    """The subsystem was disposed before it had answered; whether the handler had begun is in `begun`."""

    code = "CANCELLED"
    retryable = True

    def __init__(self, subsystem: str, begun: bool) -> None:
        self.subsystem, self.begun = subsystem, begun
        when = "while it handled this message" if begun else "before it handled this message"
        super().__init__(f"subsystem {subsystem!r} was disposed {when}")


class ConnectionNotFound(MyceliaError):
    """No connection of that id is open here."""

    code = "CONNECTION_NOT_FOUND"

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        super().__init__(f"no connection {connection_id!r}")


class RequestTimeout(MyceliaError):
    """An answer did not come in time."""

    code = "TIMEOUT"
    retryable = True

    def __init__(self, what: str, seconds: float) -> None:
        self.what, self.seconds = what, seconds
        super().__init__(f"{what}: no answer within {seconds:g} s")


class HandlerError(MyceliaError):
    """A handler raised (the cause is chained) or answered `success: false`.

    `code`, `message` and `details` are those of the answer, so a handler's own code reaches its caller.
    """

    code = "HANDLER_ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str = "HANDLER_ERROR",
        details: Mapping[str, object] | None = None,
        retryable: bool = False,
        path: str = "",
    ) -> None:
        self.message, self.path = message, path
        self.code, self.retryable, self._details = code, retryable, details
        super().__init__(f"{path}: {message}" if path else message)

    @property
    def details(self) -> Mapping[str, object] | None:
        return self._details
