"""The three kinds of envelope of the wire language `mycelia.v1`, and their validation.

The structs are what codecs decode into and encode from; on the wire their names are camelCase. Of the keys
`path`, `success` and `event` one at most is present and tells the kind; without any of them the envelope is a
request for the default path. Keys that the kind does not know are ignored, so that the language can grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from mycelia.errors import MyceliaError
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.value import MAX_DEPTH, check_value, fits, type_name

__all__ = [
    "Envelope",
    "Event",
    "Fault",
    "Outline",
    "ProtocolFault",
    "Request",
    "Response",
    "ResponseMetadata",
    "ResponseWire",
    "check_value",
    "from_mapping",
    "is_sound",
    "to_mapping",
]

_KINDS = ("path", "success", "event")
_ROOM = MAX_DEPTH - 1
"""The envelope itself is the outermost of the 64 containers."""


class _WireStruct(Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What all parts of an envelope share.

    The typed decoders refuse unknown keys because they would skip their values unchecked; such a message is
    then judged as a plain value, which checks everything and ignores what is unknown.
    """


def _always(default: Any = None) -> Any:
    """A field that has a default and is on the wire even so (`omit_defaults` leaves out constants only)."""
    return field(default_factory=type(default))


class Request(_WireStruct, frozen=True):
    """A message for a path; `path` None means the default path of the receiver."""

    path: str | None = None
    body: Any = None
    correlation_id: Any = None
    metadata: dict[str, Any] | None = None


class Fault(_WireStruct, frozen=True):
    """The `error` of a response; all four keys are always on the wire."""

    code: str
    message: str
    details: Any = _always()
    retryable: bool = _always(False)


class ResponseMetadata(_WireStruct, frozen=True):
    """What the server says about a response: its trace, and its time in milliseconds since 1970."""

    trace_id: str
    timestamp: int


class Response(_WireStruct, frozen=True):
    """The answer to a request; `data`, `correlationId` and `error` are on the wire even when they are null.

    A decoded response has its metadata as the mapping that came.
    """

    success: bool
    data: Any = _always()
    correlation_id: Any = _always()
    error: Fault | None = _always()
    metadata: ResponseMetadata | dict[str, Any] | None = None


class ResponseWire(Struct, rename="camel", forbid_unknown_fields=True):
    """A response as codecs decode it: the type of its metadata is the one that can arrive."""

    success: bool
    data: Any = None
    correlation_id: Any = None
    error: Fault | None = None
    metadata: dict[str, Any] | None = None

    def response(self) -> Response:
        return Response(self.success, self.data, self.correlation_id, self.error, self.metadata)


class Event(_WireStruct, frozen=True):
    """Something that happened; on a topic it has `topic`, and with history `offset` and `epoch`."""

    event: str
    data: Any = _always()
    topic: str | None = None
    offset: int | None = None
    epoch: str | None = None
    metadata: dict[str, Any] | None = None


Envelope = Request | Response | Event


class _Manner(Struct, rename="camel"):
    no_reply: bool | None = None


class Outline(Struct, rename="camel"):
    """What tells envelopes apart and finds their answers; everything else in the message is skipped, not decoded."""

    path: str | None = None
    success: bool | None = None
    event: str | None = None
    correlation_id: str | int | float | None = None
    metadata: _Manner | None = None

    def envelope(self) -> Envelope:
        """The envelope without its contents."""
        if self.success is not None:
            return Response(self.success, None, self.correlation_id)
        if self.event is not None:
            return Event(self.event)
        silent = self.metadata is not None and self.metadata.no_reply
        return Request(self.path, None, self.correlation_id, {"noReply": True} if silent else None)


class ProtocolFault(MyceliaError):
    """A peer's message breaks the wire language.

    `message` and `details` may be told to the peer. `correlation_id` is the message's own where it could
    still be read, so that the answer finds its request.
    """

    blame = "remote"

    def __init__(
        self,
        code: Code,
        message: str,
        details: Mapping[str, object] | None = None,
        correlation_id: Any = None,
    ) -> None:
        self.code: Code = code
        self.message, self._details, self.correlation_id = message, details, correlation_id
        super().__init__(f"{code}: {message}")

    @property
    def details(self) -> Mapping[str, object] | None:
        return self._details


def is_sound(envelope: Envelope) -> bool:
    """Whether the free values of an envelope are plain and inside the data model (see `value.fits`)."""
    if type(envelope) is Response:
        correlation, metadata, error = envelope.correlation_id, envelope.metadata, envelope.error
        return (
            (type(correlation) is str or fits(correlation, _ROOM))
            and (error is None or fits(error.details, _ROOM - 1))
            and (type(metadata) is ResponseMetadata or fits(metadata, _ROOM))
            and fits(envelope.data, _ROOM)
        )
    if type(envelope) is Request:
        return fits(envelope.body, _ROOM) and fits(envelope.correlation_id, _ROOM) and fits(envelope.metadata, _ROOM)
    event: Event = envelope  # type: ignore[assignment]  # mypy does not narrow a union by `type(x) is`
    return fits(event.data, _ROOM) and fits(event.offset) and fits(event.metadata, _ROOM)


def from_mapping(value: object) -> Envelope:
    """The envelope that a decoded message stands for; raises `ProtocolFault` INVALID_MESSAGE.

    Looks at the envelope's own keys only; the codec that decoded the value has checked the data model.
    """
    if not isinstance(value, Mapping):
        raise ProtocolFault(
            Code.INVALID_MESSAGE,
            f"expected an object, got {type_name(value)}",
            {"key": None, "expected": "object", "received": type_name(value)},
        )
    try:
        return _from_mapping(value)
    except ProtocolFault as fault:
        correlation = value.get("correlationId")
        if fits(correlation, _ROOM):
            fault.correlation_id = correlation
        raise


def _from_mapping(value: Mapping[str, Any]) -> Envelope:
    present = [key for key in _KINDS if key in value]
    if len(present) > 1:
        raise ProtocolFault(
            Code.INVALID_MESSAGE,
            f"expected one of path, success and event, got {' and '.join(present)}",
            {"key": present[1], "expected": "absent", "received": type_name(value[present[1]])},
        )
    metadata = _optional(value, "metadata", dict, "object")
    correlation = value.get("correlationId")
    if not present:
        return Request(None, value.get("body"), correlation, metadata)
    match present[0]:
        case "path":
            return Request(_required(value, "path", str, "string"), value.get("body"), correlation, metadata)
        case "success":
            success = _required(value, "success", bool, "boolean")
            error = _optional(value, "error", dict, "object")
            return Response(success, value.get("data"), correlation, None if error is None else _fault(error), metadata)
        case _:
            return Event(
                _required(value, "event", str, "string"),
                value.get("data"),
                _optional(value, "topic", str, "string"),
                _optional(value, "offset", int, "integer"),
                _optional(value, "epoch", str, "string"),
                metadata,
            )


def _fault(error: Mapping[str, Any]) -> Fault:
    return Fault(
        _required(error, "code", str, "string", "error."),
        _required(error, "message", str, "string", "error."),
        error.get("details"),
        _required(error, "retryable", bool, "boolean", "error.") if "retryable" in error else False,
    )


def _required(value: Mapping[str, Any], key: str, kind: type, expected: str, prefix: str = "") -> Any:
    """The key's value, which must be there, of exactly that type (a boolean is no integer) and not null."""
    item = value.get(key)
    if type(item) is kind:
        return item
    received = type_name(item) if key in value else "nothing"
    raise ProtocolFault(
        Code.INVALID_MESSAGE,
        f"{prefix}{key}: expected {expected}, got {received}",
        {"key": f"{prefix}{key}", "expected": expected, "received": received},
    )


def _optional(value: Mapping[str, Any], key: str, kind: type, expected: str) -> Any:
    """The key's value, or None when it is absent or null."""
    return None if value.get(key) is None else _required(value, key, kind, expected)


def to_mapping(envelope: Envelope) -> dict[str, Any]:
    """The envelope as it stands on the wire: camelCase, in the order of the fields, unset keys left out."""
    match envelope:
        case Request():
            mapping = {"path": envelope.path, "body": envelope.body, "correlationId": envelope.correlation_id}
            return _without_none(mapping, envelope.metadata)
        case Response():
            metadata = envelope.metadata
            if isinstance(metadata, ResponseMetadata):
                metadata = {"traceId": metadata.trace_id, "timestamp": metadata.timestamp}
            mapping = {
                "success": envelope.success,
                "data": envelope.data,
                "correlationId": envelope.correlation_id,
                "error": None if envelope.error is None else _error_mapping(envelope.error),
            }
            return mapping if metadata is None else mapping | {"metadata": metadata}
        case Event():
            position = {"topic": envelope.topic, "offset": envelope.offset, "epoch": envelope.epoch}
            return {"event": envelope.event, "data": envelope.data} | _without_none(position, envelope.metadata)


def _error_mapping(error: Fault) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "details": error.details,
        "retryable": error.retryable,
    }


def _without_none(mapping: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    return {key: item for key, item in (mapping | {"metadata": metadata}).items() if item is not None}
