"""The call of a handler for one HTTP request: guard route, target route, deadline, disconnect watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any

from mycelia.asgi.scope import Receive
from mycelia.errors import InvalidMessage, RequestTimeout
from mycelia.kernel.messages.context import Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.routing.path import fill
from mycelia.kernel.routing.router import NO_PARAMS, Route
from mycelia.server.requests.body import ClientLeft
from mycelia.server.requests.disconnect_watch import DisconnectWatch
from mycelia.server.requests.exchange import Exchange
from mycelia.server.requests.http_request import HttpMessage
from mycelia.server.response import HttpResponse, envelope_response, failure_response
from mycelia.server.router import HttpRoute
from mycelia.serving.responses import outcome_response

__all__ = ["HandlerCall", "UnencodableResponse"]


class UnencodableResponse(Exception):
    """The value that a handler returned cannot be encoded. `cause` states which part of it."""

    def __init__(self, path: str, cause: InvalidMessage) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"the response of {path} cannot be encoded")


class HandlerCall:
    """Calls the handlers of HTTP requests.

    Args:
        resolve: Returns the route of a Mycelia path and its parameters, or raises NoRoute.
        timeout: The deadline of every handler in seconds; 0 for none.
    """

    def __init__(self, resolve: Callable[[str], tuple[Route, Mapping[str, str]]], timeout: float) -> None:
        self._resolve, self._timeout = resolve, timeout

    async def run(
        self, exchange: Exchange, route: HttpRoute, params: Mapping[str, str], body: Any, options: Options
    ) -> HttpResponse:
        """Run the checks of the HTTP route, find the target route, and call its handler.

        Raises:
            ClientLeft: The client disconnected.
            UnencodableResponse: The value of the handler cannot be encoded.
            RequestTimeout: The handler did not return in time.
            Exception: Any exception of the checks or the handler.
        """
        exchange.enter_handler(options.connection.id, route)
        path, _ = fill(route.target, body if isinstance(body, dict) else dict(params))
        message = HttpMessage(path, body, options)
        route.guard.call(message, NO_PARAMS, options)
        target, values = self._resolve(path)
        exchange.target = target
        value = await self._call(route, target, message, values, exchange.receive)
        response = outcome_response(value, None, exchange.trace_id)
        try:
            if response.error is not None:
                target.failed += 1
                return failure_response(response.error, exchange.trace_id, None, route.statuses)
            encoded = envelope_response(response, route.status)
        except InvalidMessage as error:
            raise UnencodableResponse(route.target, error) from error
        target.handled += 1
        return encoded

    async def _call(
        self, route: HttpRoute, target: Route, message: HttpMessage, params: Mapping[str, str], receive: Receive
    ) -> Any:
        """Return the value of the handler. Raise RequestTimeout at the deadline, and ClientLeft if the client left."""
        token = CURRENT.set((target, message, message.options))
        try:
            value = target.call(message, params, message.options)
            if not isawaitable(value):
                return value
            seconds = min((each for each in (route.guard.timeout, self._timeout) if each), default=None)
            watch, deadline = DisconnectWatch(receive), asyncio.timeout(seconds)
            try:
                async with watch, deadline:
                    return await (asyncio.create_task(_finish(value)) if target.isolated else value)
            except TimeoutError:
                if seconds is not None and deadline.expired():
                    raise RequestTimeout(target.path, seconds) from None
                raise
            except Exception:
                if not watch.has_left:
                    raise
            raise ClientLeft
        finally:
            CURRENT.reset(token)


async def _finish(value: Any) -> Any:
    return await value
