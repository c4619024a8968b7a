"""How a subsystem gets its abilities: functions that are declared, verified, and then run in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from mycelia.errors import ConfigError
from mycelia.kernel.building.contract import Contract
from mycelia.kernel.facet import Facet
from mycelia.kernel.node import Node
from mycelia.kernel.routing.router import Route, RouteSettings
from mycelia.kernel.system import MessageSystem

__all__ = ["Api", "Context", "Hook", "hook"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a hook is told: the subsystem's name, configuration, queue settings, parent and system."""

    name: str
    config: Mapping[str, Any]
    ms: MessageSystem | None
    parent: Node | None
    queue: Mapping[str, Any] | None


class Api:
    """What a hook may do while its subsystem is built.

    Routes registered here belong to the build: they go when the subsystem is disposed, and come back
    when it is built again.
    """

    __slots__ = ("_facets", "_routes", "_subsystem")

    def __init__(self, subsystem: Node, facets: Mapping[str, Facet], routes: list[Route]) -> None:
        self._subsystem, self._facets, self._routes = subsystem, facets, routes

    def find(self, kind: str) -> Any:
        """The facet of that kind, if it is built already; what a hook requires always is."""
        return self._facets.get(kind)

    def register_route(
        self,
        path: str,
        handler: Callable[..., Any],
        *,
        replace: bool = False,
        **settings: Unpack[RouteSettings],
    ) -> Route:
        """As `BaseSubsystem.register_route`; with `default=True` the application's own handler wins."""
        route = self._subsystem.register_route(path, handler, replace=replace, **settings)
        if route.default or not settings.get("default"):  # else it is the application's own, and stays
            self._routes.append(route)
        return route


HookFunction = Callable[[Context, Api, Any], Facet]


@dataclass(frozen=True, slots=True)
class Hook:
    """A declared hook; calling it calls its function."""

    kind: str
    fn: HookFunction
    requires: tuple[str, ...] = ()
    overwrite: bool = False
    attach: bool = True
    contract: Contract | None = None
    version: str = "1.0"
    source: str = ""

    def __call__(self, ctx: Context, api: Api, subsystem: Any) -> Facet:
        return self.fn(ctx, api, subsystem)

    def __str__(self) -> str:
        return f"{getattr(self.fn, '__qualname__', self.fn)} of {self.source or 'unknown source'}"


def hook(
    *,
    kind: str,
    requires: Iterable[str] = (),
    overwrite: bool = False,
    attach: bool = True,
    contract: Contract | type | None = None,
    version: str = "1.0",
    source: str | None = None,
) -> Callable[[HookFunction], Hook]:
    """Declares `def use_x(ctx, api, subsystem) -> Facet` as the hook that makes the facet `kind`.

    `requires` are kinds that must be there before it; `overwrite` lets it take the place of an earlier
    hook of its kind; `attach` makes the facet an attribute of the subsystem; `contract` is a Contract
    or a Protocol that the facet must fulfil; `source` says where it comes from (default: its module).
    """
    if not kind.isidentifier() or kind.startswith("_"):
        raise ConfigError("kind", f"expected an identifier without a leading underscore, got {kind!r}")
    if isinstance(requires, str):
        raise ConfigError("requires", f"expected several kinds, got the string {requires!r}")
    needed = tuple(requires)
    agreed = contract if contract is None or isinstance(contract, Contract) else Contract.of(contract)

    def declare(fn: HookFunction) -> Hook:
        origin = getattr(fn, "__module__", "") if source is None else source
        return Hook(kind, fn, needed, overwrite, attach, agreed, version, origin)

    return declare
