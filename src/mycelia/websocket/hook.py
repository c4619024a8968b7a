"""`use_websockets`: the hook that gives a subsystem its WebSocket server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mycelia.errors import BuildError
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.realtime.config.config import load_config
from mycelia.websocket.contract import WebSocketContract
from mycelia.websocket.facet import WebSocketFacet

__all__ = ["use_websockets"]


@hook(
    kind="websocket",
    requires=("router", "messages"),
    overwrite=False,
    attach=True,
    contract=WebSocketContract,
)
def use_websockets(ctx: Context, api: Api, subsystem: Any) -> WebSocketFacet:
    """Makes the facet and registers the subsystem's seven operation paths.

    The built-in handlers of `message`, `connect`, `disconnect` and `error` give way to the application's.
    """
    if ctx.ms is None:
        raise BuildError(ctx.name, "expected ms=MessageSystem(…): clients' messages go through it")
    facet = WebSocketFacet(load_config(ctx.config), ctx.ms, subsystem)
    for register in getattr(subsystem, "registrations", ()):
        register(facet)
    own = f"{ctx.name}://"

    async def nothing(message: Any, params: Any, options: Any) -> dict[str, Any]:
        return {"success": True}

    async def unknown(message: Any, params: Any, options: Any) -> dict[str, Any]:
        return {"success": False, "error": {"code": "NOT_FOUND", "message": "no such path"}}

    async def broadcast(message: Any, params: Any, options: Any) -> dict[str, Any]:
        body = message.body
        chosen = None
        if isinstance(body, Mapping) and "filter" in body:
            body = dict(body)
            chosen = body.pop("filter")
        result = await facet.broadcast(body, chosen)
        return {
            "success": True,
            "data": {"written": result.written, "queued": result.queued, "dropped": result.dropped},
        }

    async def send(message: Any, params: Any, options: Any) -> dict[str, Any]:
        verdict = await facet.send(params["connectionId"], message.body)
        return {"success": True, "data": {"delivery": "written" if verdict is None else verdict.value}}

    api.register_route(f"{own}message", unknown, default=True)
    for event in ("connect", "disconnect", "error"):
        api.register_route(f"{own}{event}", nothing, default=True)
    api.register_route(f"{own}broadcast", broadcast)
    api.register_route(f"{own}send/{{connectionId}}", send)
    if facet.authentication.is_active:

        async def authenticate(message: Any, params: Any, options: Any) -> dict[str, Any]:
            return {"success": True, "data": await facet.authentication.answer(options.connection, message.body)}

        # Sealed: middleware, listeners and queues have no business with its body, which is a token.
        route = api.register_route(facet.authentication.path, authenticate, expose="public", safe=True)
        route.sealed = True
    api.register_route(f"{own}errors", lambda message: facet.errors(message.body))
    if (health := api.find("health")) is not None:
        health.add("accepting", facet.is_accepting)
    if (statistics := api.find("statistics")) is not None:
        statistics.add("websocket", facet.snapshot)
    return facet
