"""`use_server`: the hook that gives a subsystem its HTTP server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mycelia.errors import BuildError, Forbidden, InvalidBody
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.server.config import load_config
from mycelia.server.content.probes import KINDS
from mycelia.server.contract import ServerContract
from mycelia.server.facet import ServerFacet

__all__ = ["use_server"]

_NEEDED = ("method", "path", "target")


@hook(
    kind="server",
    requires=("router", "messages"),
    overwrite=False,
    attach=True,
    contract=ServerContract,
)
def use_server(ctx: Context, api: Api, subsystem: Any) -> ServerFacet:
    """Makes the facet and registers the subsystem's operation paths, which are for callers inside the system."""
    if ctx.ms is None:
        raise BuildError(ctx.name, "expected ms=MessageSystem(…): clients' requests go through it")
    facet = ServerFacet(load_config(ctx.config), ctx.ms, subsystem)
    for register in getattr(subsystem, "registrations", ()):
        register(facet)
    own = f"{ctx.name}://"

    def register_route(message: Any, params: Any, options: Any) -> dict[str, Any]:
        if options.caller.kind == "client":  # whatever exposes it
            raise Forbidden(f"{own}route/register is for the system's own subsystems")
        body = message.body
        if not isinstance(body, Mapping) or not all(isinstance(body.get(each), str) for each in _NEEDED):
            raise InvalidBody("expected a body {method, path, target, …}, the three of them texts")
        settings = {key: value for key, value in body.items() if key not in _NEEDED}
        route = facet.register_mycelia_route(*(body[each] for each in _NEEDED), **settings)
        return {"success": True, "data": {"method": route.method, "path": route.path, "target": route.target}}

    def probe(kind: str) -> Any:
        async def report(message: Any, params: Any, options: Any) -> dict[str, Any]:
            return {"success": True, "data": await facet.runtime.probes.report(kind)}

        return report

    api.register_route(f"{own}route/register", register_route)
    for kind in KINDS:
        api.register_route(f"{own}{kind}", probe(kind))
    api.register_route(f"{own}errors", lambda message: facet.errors(message.body))
    if (health := api.find("health")) is not None:
        health.add("accepting", facet.is_accepting)
    if (statistics := api.find("statistics")) is not None:
        statistics.add("server", facet.snapshot)
    return facet
