"""A message: an address, a body, and what is known about its sending."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count
from operator import attrgetter
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mycelia.errors import InvalidMessage
from mycelia.kernel.messages.context import Caller, Principal

__all__ = ["Delivery", "Message", "Metadata", "new_trace_id", "valid_trace_id"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})
_OPEN = {
    "trace_id": "trace_id",
    "traceId": "trace_id",
    "correlation_id": "correlation_id",
    "correlationId": "correlation_id",
}
_KERNELS = frozenset({"caller", "principal", "connection_id", "connectionId", "client", "untrusted", "timestamp"})
_TRACE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

# A process has one sequence of trace ids; nothing else here outlives a call.
_prefix = os.urandom(8).hex()
_counter = count(1)


def _renew_prefix() -> None:
    global _prefix
    _prefix = os.urandom(8).hex()


# A forked process must not continue its parent's numbers under its parent's prefix.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_prefix)


def new_trace_id() -> str:
    """A trace id that no other process and no earlier call has given out."""
    return f"{_prefix}-{next(_counter)}"


def valid_trace_id(text: object) -> bool:
    """Whether `text` may be a trace id: 1 to 128 of the characters `A-Za-z0-9._-`."""
    return isinstance(text, str) and _TRACE_ID.fullmatch(text) is not None


class Metadata:
    """What is known about the sending of a message; read-only.

    `caller`, `principal`, `connection_id` and `client` come from the kernel and the transport alone.
    `timestamp` is the time of sending, for a message not yet sent that of this object; `untrusted` is
    what a client claims. The application's own keys are read with `metadata["key"]`.
    """

    __slots__ = (
        "_caller", "_client", "_connection_id", "_correlation_id", "_extra", "_principal",
        "_timestamp", "_trace_id", "_untrusted",
    )  # fmt: skip

    def __init__(
        self,
        *,
        trace_id: str | None = None,
        correlation_id: Any = None,
        timestamp: float | None = None,
        caller: Caller | None = None,
        principal: Principal | None = None,
        connection_id: str | None = None,
        client: Any = None,
        untrusted: Mapping[str, Any] = _EMPTY,
        extra: Mapping[str, Any] = _EMPTY,
    ) -> None:
        self._trace_id = trace_id
        self._correlation_id = correlation_id
        self._timestamp = time() if timestamp is None else timestamp
        self._caller = caller
        self._principal = principal
        self._connection_id = connection_id
        self._client = client
        self._untrusted = untrusted
        self._extra = extra

    @classmethod
    def given(cls, values: Mapping[str, Any] | Metadata) -> Metadata:
        """What an application may say itself; the kernel's own fields are refused, or left behind.

        A Metadata handed on from another message brings its trace id, correlation id and own keys.
        """
        if isinstance(values, Metadata):
            return cls(
                trace_id=values.trace_id,
                correlation_id=values.correlation_id,
                extra=values.extra,
            )
        fields: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in values.items():
            if key in _KERNELS:
                raise InvalidMessage(f"metadata: {key!r} is set by the kernel alone; choose another key")
            name = _OPEN.get(key)
            if name is None:
                extra[key] = value
            elif name in fields:
                raise InvalidMessage(f"metadata: {name!r} is given twice, in two spellings")
            else:
                fields[name] = value
        trace_id = fields.get("trace_id")
        if trace_id is not None and not valid_trace_id(trace_id):
            raise InvalidMessage(f"metadata: expected trace_id of 1 to 128 characters A-Za-z0-9._-, got {trace_id!r}")
        return cls(extra=MappingProxyType(extra), **fields)

    if TYPE_CHECKING:

        @property
        def correlation_id(self) -> Any: ...
        @property
        def timestamp(self) -> float: ...
        @property
        def caller(self) -> Caller | None: ...
        @property
        def principal(self) -> Principal | None: ...
        @property
        def connection_id(self) -> str | None: ...
        @property
        def client(self) -> Any: ...
        @property
        def untrusted(self) -> Mapping[str, Any]: ...
        @property
        def extra(self) -> Mapping[str, Any]: ...

    else:
        correlation_id = property(attrgetter("_correlation_id"), doc="Matches an answer to its question.")
        timestamp = property(attrgetter("_timestamp"), doc="When it was sent, in seconds since 1970.")
        caller = property(attrgetter("_caller"), doc="Who sent it; None until it is sent.")
        principal = property(attrgetter("_principal"), doc="With whose rights it was sent.")
        connection_id = property(attrgetter("_connection_id"), doc="The client's connection, if any.")
        client = property(attrgetter("_client"), doc="What the transport knows about the client.")
        untrusted = property(attrgetter("_untrusted"), doc="What the client claims.")
        extra = property(attrgetter("_extra"), doc="The application's own keys.")

    @property
    def trace_id(self) -> str:
        """The id under which everything that follows from one request is found; made when first read."""
        if self._trace_id is None:
            self._trace_id = new_trace_id()
        return self._trace_id

    def __getitem__(self, key: str) -> Any:
        return self._extra[key]

    def __contains__(self, key: object) -> bool:
        return key in self._extra

    def get(self, key: str, default: Any = None) -> Any:
        """The application's own value under `key`, or `default`."""
        return self._extra.get(key, default)

    def __repr__(self) -> str:
        return f"Metadata(trace_id={self._trace_id!r}, caller={self._caller!r}, extra={dict(self._extra)!r})"


class Message:
    """An address and a body; immutable from the outside, cheap to make.

    Id and trace id are made when they are first read. Sending a message delivers a message of the same
    id with the kernel's metadata; the one that was sent stays as it is and may be sent again.
    """

    # `_timestamp` is for subclasses that know when they were sent; setting it here would cost everyone.
    __slots__ = ("_body", "_id", "_metadata", "_path", "_timestamp")

    _metadata: Metadata | None
    _timestamp: float

    def __init__(
        self,
        path: str,
        body: Any = None,
        metadata: Mapping[str, Any] | Metadata | None = None,
        *,
        id: str | None = None,
    ) -> None:
        self._path = path
        self._body = body
        self._id = id
        self._metadata = metadata if metadata is None else Metadata.given(metadata)

    if TYPE_CHECKING:

        @property
        def path(self) -> str: ...
        @property
        def body(self) -> Any: ...

    else:
        path = property(attrgetter("_path"), doc="Where it goes: `subsystem://segment/…`.")
        body = property(attrgetter("_body"), doc="What it carries.")

    @property
    def id(self) -> str:
        """A random id, made when first read."""
        if self._id is None:
            self._id = uuid4().hex
        return self._id

    @property
    def metadata(self) -> Metadata:
        """What is known about its sending; made when first read."""
        metadata = self._metadata
        if metadata is None:
            metadata = self._metadata = self._make_metadata()
        return metadata

    def _make_metadata(self) -> Metadata:
        """Called once, when metadata is first read. Transports override it to tell what they know."""
        return Metadata()

    def with_body(self, body: Any) -> Message:
        """The same message with another body: same path, id and metadata."""
        other = Message.__new__(Message)
        other._path, other._body, other._id = self._path, body, self.id
        other._metadata = self.metadata
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path!r}, {self._body!r})"


class Delivery(Message):
    """A message on its way to a handler, with what the kernel knows about its sending."""

    __slots__ = ("_caller", "_principal", "_sent", "_trace_id")

    def __init__(self, sent: Message, caller: Caller, principal: Principal | None, trace_id: str | None) -> None:
        self._path = sent._path
        self._body = sent._body
        self._id = sent._id
        self._timestamp = time()
        self._metadata = None
        self._sent = sent
        self._caller = caller
        self._principal = principal
        self._trace_id = trace_id

    @property
    def id(self) -> str:
        """The id of the message that was sent."""
        return self._sent.id

    def _make_metadata(self) -> Metadata:
        sent = self._sent.metadata
        return Metadata(
            # Said by the sender, else that of the message being handled, else one for both of these.
            trace_id=sent._trace_id or self._trace_id or sent.trace_id,
            correlation_id=sent.correlation_id,
            timestamp=self._timestamp,
            caller=self._caller,
            principal=self._principal,
            extra=sent.extra,
        )
