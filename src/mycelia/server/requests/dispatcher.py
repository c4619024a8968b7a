"""The dispatcher of HTTP requests: request → checks → message → handler → response.

The checks run in this order, cheapest first: request head, Host header, path, concurrency limit, route, Origin,
credential, query, body, guard route, target route. Unknown paths and targets without a route both return 404.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from mycelia.asgi.scope import Event, Receive, Scope, Send, checked_path, parting, read_scope
from mycelia.errors import NoRoute
from mycelia.net.address import Proxies, address_key
from mycelia.net.client import ClientInfo
from mycelia.observability.error_log import RECORDING, ErrorLog
from mycelia.protocol.http.origin import check_query, host_allowed
from mycelia.protocol.http.request import BadHandshake, Handshake
from mycelia.server.config import HttpLimits
from mycelia.server.content.probes import Probes
from mycelia.server.content.static import FileResponse, StaticFolders
from mycelia.server.requests.authentication import RequestAuthentication
from mycelia.server.requests.body import ClientLeft, merge_body, query_of, read_body
from mycelia.server.requests.concurrency_limiter import ConcurrencyLimiter
from mycelia.server.requests.disconnect_watch import DisconnectWatch
from mycelia.server.requests.exchange import Exchange
from mycelia.server.requests.failures import cancelled_response, error_response
from mycelia.server.requests.handler_call import HandlerCall
from mycelia.server.requests.http_request import HttpRequest, trace_of
from mycelia.server.requests.origin import OriginRules
from mycelia.server.response import HttpResponse
from mycelia.server.router import HttpRouter, MethodNotAllowed
from mycelia.serving.internal_error import internal_error

__all__ = ["RequestDispatcher", "with_send_timeout"]

_FILE_METHODS = ("GET", "HEAD", "OPTIONS")


class RequestDispatcher:
    """Answers the HTTP requests of one ServerSubsystem.

    Args:
        limits: The limits of requests.
        allowed_hosts: The rules for the Host header; none allows every host.
        keep_headers: The headers that handlers see in `connection.client`.
        errors: The record of failures.
        limiter: Gives each request a slot.
        probes: Answers the health probes. They need no slot.
        router: The HTTP routes.
        static: The static folders, for paths without a route.
        origins: The rules for pages of other origins.
        authentication: Finds the identity of a request.
        handlers: Calls the handler.
        engine_name: Returns the name of the HTTP server, for `connection.client`.
    """

    def __init__(
        self,
        limits: HttpLimits,
        allowed_hosts: Sequence[str],
        keep_headers: tuple[str, ...],
        *,
        errors: ErrorLog,
        limiter: ConcurrencyLimiter,
        probes: Probes,
        router: HttpRouter,
        static: StaticFolders,
        origins: OriginRules,
        authentication: RequestAuthentication,
        handlers: HandlerCall,
        engine_name: Callable[[], str],
    ) -> None:
        self._limits, self._allowed_hosts, self._keep_headers = limits, allowed_hosts, keep_headers
        self._errors, self._limiter = errors, limiter
        self._probes, self._router, self._static = probes, router, static
        self._origins, self._authentication, self._handlers = origins, authentication, handlers
        self._engine_name = engine_name
        self._proxies = Proxies(limits.trusted_proxies, limits.proxy_headers)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A client that disconnects before the response gets none."""
        recording = RECORDING.set(self._errors)
        exchange = Exchange(scope, receive)
        try:
            try:
                response = await self._respond(exchange)
            except ClientLeft:
                return
            except Exception as error:
                response = error_response(error, exchange)
            except asyncio.CancelledError:
                if (cancelled := self._cancelled(exchange)) is None:
                    raise
                response = cancelled
            await self._send(response, exchange, with_send_timeout(send, self._limits.send_timeout))
        finally:
            if exchange.slot is not None:
                exchange.slot.release()
            RECORDING.reset(recording)

    async def _respond(self, exchange: Exchange) -> HttpResponse | FileResponse:
        """Run all checks in order and return the response. Any error of a check leaves as an exception."""
        request = self._proxies.unveil(read_scope(exchange.scope))
        exchange.identify(trace_of(request), self._origins.headers(request))
        if self._allowed_hosts and not host_allowed(request, self._allowed_hosts):
            raise BadHandshake(421, "this Host is not served here; see server.allowedHosts")
        path = checked_path(exchange.scope)
        if request.method in ("GET", "HEAD") and (probe := self._probes.paths.get(path)) is not None:
            return await self._probe(probe, exchange)
        exchange.slot = self._limiter.slot(address_key(request.remote[0] if request.remote else None))
        if (methods := self._options(request, path)) is not None:
            return self._origins.options(request, methods)
        found = self._router.match(request.method, path)
        if found is None:
            return await self._file(request, path)
        self._origins.check(request)
        client = ClientInfo.of(request, self._engine_name(), None, self._keep_headers)
        identity = await self._authentication.identify(request, client.network)
        check_query(request, self._limits.query_parameters)
        route, params = found
        body = merge_body(await read_body(request, exchange.receive, self._limits), query_of(request), params)
        options = HttpRequest(request, client, exchange.trace_id).options(identity)
        return await self._handlers.run(exchange, route, params, body, options)

    async def _probe(self, probe: str, exchange: Exchange) -> HttpResponse:
        async with DisconnectWatch(exchange.receive):
            return await self._probes.respond(probe, exchange.trace_id)
        raise ClientLeft

    def _options(self, request: Handshake, path: str) -> Sequence[str] | None:
        """Return the methods for the response to OPTIONS; None if a route answers, or if the path is unknown."""
        if request.method != "OPTIONS" or self._router.has("OPTIONS", path):
            return None
        return self._router.methods(path) or (_FILE_METHODS if self._static.holds(path) else None)

    async def _file(self, request: Handshake, path: str) -> HttpResponse | FileResponse:
        """Return the response for a static file, or raise NoRoute."""
        if not self._static.holds(path):
            raise NoRoute(path)
        if request.method not in _FILE_METHODS:
            raise MethodNotAllowed(path, _FILE_METHODS)
        file = await self._static.find(path, request)
        if file is None:
            raise NoRoute(path)
        return file

    def _cancelled(self, exchange: Exchange) -> HttpResponse | None:
        """Return the response after a CancelledError; None if the HTTP server has cancelled the request."""
        task = asyncio.current_task()
        assert task is not None
        if exchange.target is not None and not task.cancelling():
            return cancelled_response(exchange, by_server=False)  # The handler raised CancelledError itself.
        if not self._limiter.has_cancelled(task):
            return None
        while task.uncancel():
            pass
        return cancelled_response(exchange, by_server=True)

    async def _send(self, response: HttpResponse | FileResponse, exchange: Exchange, send: Send) -> None:
        head_only, headers = exchange.head_only, exchange.headers
        try:
            if isinstance(response, FileResponse):
                async with DisconnectWatch(exchange.receive):
                    await response.send(send, head_only=head_only, extra=headers)
            else:
                headers = (*headers, *parting(exchange.scope, response.status))
                await response.send(send, head_only=head_only, extra=headers)
        except Exception as error:
            # The HTTP server has to close the connection, because the response may have begun.
            internal_error("a response could not be sent", exchange.request_id, error, trace_id=exchange.trace_id)
            raise


def with_send_timeout(send: Send, seconds: float) -> Send:
    """Return a `send` that raises TimeoutError if the client does not read. Callers treat it like a disconnect."""

    async def send_in_time(event: Event) -> None:
        async with asyncio.timeout(seconds):
            await send(event)

    return send_in_time
