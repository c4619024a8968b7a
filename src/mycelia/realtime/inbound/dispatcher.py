"""Answers one request: from its envelope to a Message, to the handler, and back to an envelope.

A path that is not found and a path that is private get the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mycelia.errors import Overloaded, RequestTimeout
from mycelia.kernel.messages.message import valid_trace_id
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, Request, Response
from mycelia.protocol.wire.request_metadata import timeout_seconds, wants_no_reply
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage, WholeMessage, Work
from mycelia.realtime.inbound.decoder import Decoder
from mycelia.realtime.inbound.invoke import Invoker, clear_cancellation
from mycelia.realtime.inbound.resolver import Resolver
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.serving.error_mapping import error_for, standard_error
from mycelia.serving.responses import error_response, outcome_response

__all__ = ["Dispatcher"]

Overlap = Callable[[Request, bytes], bool]
"""Run a request of a `concurrent` route beside the others. Returns False at the limit."""


class Dispatcher:
    """Answers the requests of all connections of one subsystem.

    Args:
        resolver: Finds the target of a request.
        decoder: Decodes large messages.
        responder: Packs responses.
        transforms: The application's transforms.
        invoker: Runs handlers.
        counters: Counts handlers that took too long.
        handler_timeout: The longest time that a handler may take, in seconds; 0 for no limit.
        concurrent_requests: The most requests of one connection that may run at the same time.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        decoder: Decoder,
        responder: Responder,
        transforms: Transforms,
        invoker: Invoker,
        counters: EventCounters,
        handler_timeout: float,
        concurrent_requests: int,
    ) -> None:
        self.resolver, self.decoder, self.responder = resolver, decoder, responder
        self.handler_timeout, self.concurrent_requests = handler_timeout, concurrent_requests
        self._transforms, self._invoker, self._counters = transforms, invoker, counters
        self.replies_are_plain = transforms.outgoing is None

    async def answer(
        self, link: Link, work: Work, payload: bytes, is_stopping: Callable[[], bool], overlap: Overlap | None
    ) -> bytes | None:
        """Handle one entry of a backlog.

        Args:
            link: The link that the message came from.
            work: The entry.
            payload: The encoded message.
            is_stopping: Returns True if a cancellation means that the client is gone or the server stops.
            overlap: Runs a request of a `concurrent` route beside the others; None if this is such a run.

        Returns:
            The packet of the reply; None if nothing is to be sent.
        """
        trace_id = link.session.client.trace_id or self.responder.next_trace_id()
        whole: object = payload
        if work is None:
            work = await self.decoder.decode_in_turn(link, payload)
        if isinstance(work, WholeMessage):
            whole = work.value
            work = work.envelope
        elif isinstance(work, UntransformedMessage):
            untransformed = work
            work = await self.decoder.transform(link, untransformed)
            whole = untransformed.value
        if work is None:
            return None
        if isinstance(work, Event):
            await self._handle_event(link, work, trace_id, whole)
            return None
        metadata = work.metadata or {}
        trace_id = trace_id_of(metadata) or trace_id
        route: Route | None = None
        answered: Route | None = None  # the route whose handler returned; it counts when its answer is packed
        try:
            route, params, request = self.resolver.resolve(link, work, trace_id, whole)
            if route.concurrent and overlap is not None:
                if not overlap(work, payload):
                    raise Overloaded("concurrent requests of one connection", self.concurrent_requests)
                return None
            value = await self._invoker.run(route, request, params, timeout_seconds(metadata))
            response = outcome_response(value, work.correlation_id, trace_id)
            answered = route
        except asyncio.CancelledError:
            if is_stopping():
                raise
            response = self.cancelled(route, work, trace_id)
        except Exception as error:
            response = self.failed(error, route, link, work, trace_id)
        if wants_no_reply(metadata):
            if answered is not None:
                answered.handled += 1
            return None
        if self.replies_are_plain:
            return self.responder.pack(link, response, answered)
        return await self._transforms.pack(response, link, trace_id, answered)

    def failed(self, error: Exception, route: Route | None, link: Link, request: Request, trace_id: str) -> Response:
        """Return the response for an exception of a handler, or of the search for its route."""
        return error_response(error_for(error, route, link.id, trace_id), request.correlation_id, trace_id)

    def timed_out(self, route: Route, link: Link, request: Request, trace_id: str) -> Response:
        """Return the response for a handler that was cancelled because its time was over."""
        clear_cancellation()
        self._counters.add(Counter.HANDLER_TIME)
        return self.failed(RequestTimeout(route.path, self.handler_timeout), route, link, request, trace_id)

    def cancelled(self, route: Route | None, request: Request, trace_id: str) -> Response:
        """Return the response for a handler that cancelled itself; later requests go on."""
        clear_cancellation()
        if route is not None:
            route.failed += 1
        return error_response(standard_error(Code.CANCELLED), request.correlation_id, trace_id)

    async def _handle_event(self, link: Link, event: Event, trace_id: str, whole: object) -> None:
        route: Route | None = None
        try:
            route, params, message = self.resolver.resolve_default(link, event, trace_id, whole)
            await self._invoker.run(route, message, params, None)
            route.handled += 1
        except Exception as error:
            error_for(error, route, link.id, trace_id)


def trace_id_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the trace id of a request: its `traceId`, else the `x-trace-id` of its `headers`, else None."""
    headers = metadata.get("headers")
    inner = headers.get("x-trace-id") if isinstance(headers, dict) else None
    return next((given for given in (metadata.get("traceId"), inner) if valid_trace_id(given)), None)
