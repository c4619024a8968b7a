"""An HTTP request as handlers see it: the `connection` of their options, and the message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mycelia.kernel.messages.context import Caller, Options, Principal
from mycelia.kernel.messages.message import Message, Metadata, new_trace_id, valid_trace_id
from mycelia.net.client import ClientInfo
from mycelia.protocol.http.request import Handshake
from mycelia.protocol.http.traceparent import trace_id_of

__all__ = ["HttpMessage", "HttpRequest", "trace_of"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class HttpRequest:
    """The `connection` of a handler's options if an HTTP request called the handler.

    It holds no secret, and cannot be sent to.

    Attributes:
        id: A new id for this request.
        client: The client: its address and the kept headers.
        method: The HTTP method.
        path: The path of the request, without its query.
        trace_id: The trace of the request.
        metadata: A mapping for handlers. `userId` is the id of the principal, if there is one.
    """

    def __init__(self, request: Handshake, client: ClientInfo, trace_id: str) -> None:
        self.id = f"http-{new_trace_id()}"
        self.client = client
        self.method = request.method
        self.path = request.path
        self.trace_id = trace_id
        self.metadata: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.path})"

    def options(self, principal: Principal | None) -> Options:
        """Return the options of the message's handler.

        A request has no connection id. Routes that are limited by connection count requests by address.

        Args:
            principal: The identity of the client; None if it is not authenticated.
        """
        if principal is not None:
            self.metadata["userId"] = principal.id
        return Options(caller=Caller("client", self.id), connection=self, principal=principal)


class HttpMessage(Message):
    """The message of an HTTP request. Its metadata about the client comes from the transport, never from the body."""

    __slots__ = ("options",)

    def __init__(self, path: str, body: Any, options: Options) -> None:
        super().__init__(path, body)
        self.options = options

    def __repr__(self) -> str:
        return f"HttpMessage({self.path!r})"  # The body may hold a secret.

    def _make_metadata(self) -> Metadata:
        options = self.options
        request: HttpRequest = options.connection
        return Metadata(
            trace_id=request.trace_id,
            caller=options.caller,
            principal=options.principal,
            client=request.client,
        )


def trace_of(request: Handshake) -> str:
    """Return the trace id from `traceparent`, else from `X-Trace-Id`, else a new one."""
    found = trace_id_of(request.headers)
    if found is not None:
        return found
    lines = request.headers.lines("x-trace-id")
    return lines[0] if len(lines) == 1 and valid_trace_id(lines[0]) else new_trace_id()
