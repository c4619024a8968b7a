"""Puts around a call plan what its route, its subsystem and its system ask for; nothing else is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any

from mycelia.errors import Forbidden, RateLimited, RequestTimeout, Unauthorized
from mycelia.kernel.messages.context import Options
from mycelia.kernel.messages.message import Message
from mycelia.kernel.routing.handler import Call
from mycelia.kernel.routing.router import Route
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["Layer", "Middleware", "check_known", "check_requires", "check_rights", "compose", "within"]

CallNext = Callable[..., Awaitable[Any]]
Middleware = Callable[[Message, Options, CallNext], Awaitable[Any]]
"""`async (message, options, call_next)`; `await call_next()` or `call_next(message, options)` goes on."""
Layer = Callable[[Route, Call], Call]
"""What may be put around a route's call; it returns the call itself where it has nothing to add."""


def check_requires(route: Route, options: Options) -> None:
    """Raises unless the caller may use the route; any fault of the check itself refuses as well.

    A principal must have every permission. Without one, the system and its subsystems pass when they
    act for themselves; a client, or a subsystem acting for an unknown client, is not known enough.
    """
    try:
        principal = options.principal
        if principal is None:
            internal = options.caller.kind in _INTERNAL and options.origin.kind in _INTERNAL
            missing = None if internal else route.requires
        else:
            held = principal.permissions
            if isinstance(held, (str, Mapping)):
                raise TypeError(f"expected permissions as a collection of strings, got {type(held).__name__}")
            missing = route.requires.difference(held)
    except Exception as fault:
        raise Forbidden(f"{route.path}: the permissions of the caller cannot be read") from fault
    if missing:
        wanted = ", ".join(sorted(missing))
        if principal is None:
            raise Unauthorized(f"{route.path}: requires {wanted} and the caller is not authenticated")
        raise Forbidden(f"{route.path}: requires {wanted}, which the caller does not have")


def check_known(route: Route, options: Options) -> None:
    """Raises unless the caller is a client that is known by a name, or no client at all."""
    if options.caller.kind == "client":
        try:
            known = bool(options.principal_id)
        except Exception as fault:
            raise Forbidden(f"{route.path}: the caller's principal cannot be read") from fault
        if not known:
            raise Unauthorized(f"{route.path}: is for authenticated clients, and the caller is none")


def check_rights(route: Route, options: Options) -> None:
    """Both of these, as far as the route asks for them; for who has waited since it was checked."""
    if route.authenticated:
        check_known(route, options)
    if route.requires:
        check_requires(route, options)


_INTERNAL = ("system", "subsystem")


async def within(seconds: float | None, awaitable: Awaitable[Any], what: str) -> Any:
    """The result of `awaitable`; RequestTimeout when it takes longer, by then cancelled."""
    if seconds is None:
        return await awaitable
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await awaitable
    except TimeoutError as fault:
        if scope.expired():
            raise RequestTimeout(what, seconds) from fault
        raise


def compose(
    route: Route, layers: Iterable[Layer], middleware: Iterable[Middleware], guards: Iterable[Layer] = ()
) -> None:
    """Sets `route.call`: permission check, rate, time limit, middleware (first given, first asked), layers, plan.

    Layers (a queue, listeners) are given from the inside out; one that adds anything makes an awaitable.
    Guards stand right inside the permission check; they refuse or let pass, and what they wait for is timed.
    The time limit is for what can be awaited: a plain `def` cannot be stopped.
    """
    call, is_async = route.plan.call, route.plan.is_async
    if route.sealed:
        route.call, route.is_async = call, is_async
        return
    for layer in layers:
        around = layer(route, call)
        call, is_async = around, is_async or around is not call
    for each in reversed(list(middleware)):
        call, is_async = _around(each, call), True
    for guard in guards:
        call = guard(route, call)
    if route.timeout is not None and is_async:
        call = _timed(route, call, route.timeout)
    if route.limit is not None:
        call = _limited(route, call, route.limit)
    if route.requires:
        call = _checked(route, call)
    if route.authenticated:
        call = _known(route, call)
    route.call, route.is_async = call, is_async


def _around(middleware: Middleware, inner: Call) -> Call:
    async def call(message: Any, params: Any, options: Any) -> Any:
        async def call_next(next_message: Any = message, next_options: Any = options) -> Any:
            value = inner(next_message, params, next_options)
            return await value if isawaitable(value) else value

        return await middleware(message, options, call_next)

    return call


def _timed(route: Route, inner: Call, seconds: float) -> Call:
    def call(message: Any, params: Any, options: Any) -> Awaitable[Any]:
        return within(seconds, inner(message, params, options), route.path)

    return call


def _checked(route: Route, inner: Call) -> Call:
    def call(message: Any, params: Any, options: Any) -> Any:
        check_requires(route, options)
        return inner(message, params, options)

    return call


def _known(route: Route, inner: Call) -> Call:
    def call(message: Any, params: Any, options: Any) -> Any:
        check_known(route, options)
        return inner(message, params, options)

    return call


def _limited(route: Route, inner: Call, limiter: RateLimiter) -> Call:
    """After the permission check, so that who may not call it does not use up what others may."""
    owner_of = _OWNERS[limiter.by]
    shared = limiter.by == "route"

    def call(message: Any, params: Any, options: Any) -> Any:
        owner = owner_of(options)
        if (owner is not None or shared) and (wait := limiter.take(owner)):
            options.limited()
            raise RateLimited(route.path, wait)
        return inner(message, params, options)

    return call


def _principal_of(options: Options) -> str | None:
    # Who is not known is told apart by connection: nobody passes for having no name.
    return options.principal_id or options.connection_id or _address_of(options)


def _address_of(options: Options) -> str | None:
    # The network, where the client has one: who owns a /64 of IPv6 has more addresses than any table could limit.
    client = getattr(options.connection, "client", None)
    return getattr(client, "network", None) or getattr(client, "remote_address", None)


# None stands for a caller that is no client: the program itself is limited by `route` only. A client without a
# connection, as of an HTTP request, is told apart by its address.
_OWNERS: Mapping[str, Callable[[Options], str | None]] = {
    "connection": lambda options: options.connection_id or _address_of(options),
    "principal": _principal_of,
    "address": _address_of,
    "route": lambda options: None,
}
