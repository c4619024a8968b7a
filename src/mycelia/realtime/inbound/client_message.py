"""A client's request as a Message; everything that says who is asking comes from the connection."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mycelia.kernel.messages.message import Message, Metadata, valid_trace_id
from mycelia.protocol.wire.envelope import Event, Request

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["ClientMessage", "silent", "timeout_of", "trace_of"]

_OURS = frozenset({"traceId", "timeoutMs", "noReply", "idempotencyKey"})
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class ClientMessage(Message):
    """Made for every request, so its metadata waits until somebody reads it."""

    __slots__ = ("_envelope", "connection", "trace_id")

    def __init__(
        self,
        path: str,
        body: Any,
        connection: WebSocketConnection,
        envelope: Request | Event | None,
        trace_id: str,
    ) -> None:
        self._path = path
        self._body = body
        self._id = None
        self._metadata = None
        self._timestamp = 0.0
        self._envelope = envelope
        self.connection = connection
        self.trace_id = trace_id

    def __repr__(self) -> str:
        return f"ClientMessage({self.path!r})"  # a body may hold a token, as that of `connect` does

    def _make_metadata(self) -> Metadata:
        envelope, connection = self._envelope, self.connection
        options = connection.options
        given = envelope.metadata if isinstance(envelope, Request) else None
        untrusted = {key: value for key, value in given.items() if key not in _OURS} if given else _EMPTY
        key = given.get("idempotencyKey") if given else None
        return Metadata(
            trace_id=self.trace_id,
            correlation_id=envelope.correlation_id if isinstance(envelope, Request) else None,
            timestamp=self._timestamp or time(),
            caller=options.caller,
            principal=options.principal,
            connection_id=connection.id,
            client=connection.client,
            untrusted=untrusted,
            extra={"idempotency_key": key} if isinstance(key, str) else _EMPTY,
        )


def silent(metadata: Mapping[str, Any] | None) -> bool:
    """Whether a request's `noReply` asks for no answer."""
    return metadata is not None and metadata.get("noReply") is True


def timeout_of(metadata: Mapping[str, Any]) -> float | None:
    """Seconds of a request's `timeoutMs`; None when it has none that makes sense."""
    given = metadata.get("timeoutMs")
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= 86_400_000:
        return None
    return given / 1000


def trace_of(metadata: Mapping[str, Any]) -> str | None:
    """The trace id that a request brings: its `traceId`, else the `x-trace-id` of its `headers`; else None."""
    headers = metadata.get("headers")
    inner = headers.get("x-trace-id") if isinstance(headers, dict) else None
    return next((given for given in (metadata.get("traceId"), inner) if valid_trace_id(given)), None)
