"""A client's request as a Message. Everything that identifies the caller comes from the connection."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from types import MappingProxyType
from typing import Any

from mycelia.kernel.messages.message import Message, Metadata
from mycelia.protocol.wire.envelope import Event, Request
from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["ClientMessage"]

_OURS = frozenset({"traceId", "timeoutMs", "noReply", "idempotencyKey"})
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class ClientMessage(Message):
    """The message of one request. Its metadata is made when it is first read, because most handlers do not read it."""

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
        # Without the body, which may hold a token: the body of `connect` does.
        return f"ClientMessage({self.path!r})"

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
