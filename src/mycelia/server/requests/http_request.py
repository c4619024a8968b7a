"""One HTTP request as handlers see it: who asks, with what, under whose rights, as which message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mycelia.kernel.messages.context import Caller, Options, Principal
from mycelia.kernel.messages.message import Message, Metadata, new_trace_id, valid_trace_id
from mycelia.net.client import ClientInfo
from mycelia.protocol.http.traceparent import trace_id_of
from mycelia.protocol.ws.handshake import Handshake

__all__ = ["HttpMessage", "HttpRequest", "trace_of"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class HttpRequest:
    """What `connection` is for the handler of an HTTP request. Nothing secret is in it, and nobody can send to it.

    `metadata` is a mapping of this request's own; as that of a connection it names the principal by `userId`.
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
        """What the message's handler gets as its third argument. A request is no connection, so there is no id of one:
        where routes limit by connection, requests are counted by address.
        """
        if principal is not None:
            self.metadata["userId"] = principal.id
        return Options(caller=Caller("client", self.id), connection=self, principal=principal)


class HttpMessage(Message):
    """The message that a request became; everything that says who is asking comes from the transport."""

    __slots__ = ("options",)

    def __init__(self, path: str, body: Any, options: Options) -> None:
        super().__init__(path, body)
        self.options = options

    def __repr__(self) -> str:
        return f"HttpMessage({self.path!r})"  # a body may hold a secret

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
    """The trace of a request: that of its `traceparent`, else its `X-Trace-Id`, else a new one."""
    found = trace_id_of(request.headers)
    if found is not None:
        return found
    lines = request.headers.lines("x-trace-id")
    return lines[0] if len(lines) == 1 and valid_trace_id(lines[0]) else new_trace_id()
