"""`use_server`: the hook that gives a subsystem its HTTP server, and the contract of the facet that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mycelia.errors import BuildError, Forbidden, InvalidBody
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.server.config import load_config
from mycelia.server.content.probes import PROBES
from mycelia.server.facet import ServerFacet
from mycelia.serving.listening_facet import register_operations

__all__ = ["ServerContract", "use_server"]

_REQUIRED = ("method", "path", "target")


class ServerContract(Protocol):
    """The methods that every server facet must have. The facet `websocket` has those without routes, too."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def is_running(self) -> bool: ...

    def is_accepting(self) -> bool: ...

    def get_address(self) -> tuple[str, int] | None: ...

    def get_port(self) -> int | None: ...

    def get_urls(self) -> list[str]: ...

    def reload_certificates(self) -> None: ...

    def register_mycelia_route(self, method: str, path: str, target: str) -> Any: ...

    def unregister_mycelia_route(self, method: str, path: str) -> bool: ...


@hook(
    kind="server",
    requires=("router", "messages"),
    overwrite=False,
    attach=True,
    contract=ServerContract,
)
def use_server(ctx: Context, api: Api, subsystem: Any) -> ServerFacet:
    """Make the facet and register the operation paths of the subsystem. Clients cannot call these paths.

    Args:
        ctx: The name, configuration and message system of the subsystem.
        api: Registers routes, and finds other facets.
        subsystem: The ServerSubsystem.

    Returns:
        The facet.

    Raises:
        BuildError: The subsystem has no message system.
    """
    if ctx.ms is None:
        raise BuildError(ctx.name, "expected ms=MessageSystem(…): HTTP requests become messages of this system")
    facet = ServerFacet(load_config(ctx.config), ctx.ms, subsystem.asgi)
    for register in subsystem.registrations:
        register(facet)
    own = f"{ctx.name}://"

    def register_route(message: Any, params: Any, options: Any) -> dict[str, Any]:
        if options.caller.kind == "client":  # even if the application exposes the path
            raise Forbidden(f"{own}route/register is for subsystems of this system only")
        body = message.body
        if not isinstance(body, Mapping) or not all(isinstance(body.get(each), str) for each in _REQUIRED):
            raise InvalidBody("expected a body {method, path, target, …} with these three as strings")
        settings = {key: value for key, value in body.items() if key not in _REQUIRED}
        route = facet.register_mycelia_route(*(body[each] for each in _REQUIRED), **settings)
        return {"success": True, "data": {"method": route.method, "path": route.path, "target": route.target}}

    def probe(kind: str) -> Any:
        async def report(message: Any, params: Any, options: Any) -> dict[str, Any]:
            return {"success": True, "data": await facet.core.probes.report(kind)}

        return report

    api.register_route(f"{own}route/register", register_route)
    for kind in PROBES:
        api.register_route(f"{own}{kind}", probe(kind))
    register_operations(facet, api, ctx.name, "server")
    return facet
