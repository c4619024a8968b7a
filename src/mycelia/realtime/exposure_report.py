"""What clients may call, said at start-up: every exposed path by class, and a warning of what stands open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mycelia.kernel.routing.router import Route

if TYPE_CHECKING:
    from mycelia.realtime.core import Runtime

__all__ = ["announce"]

logger = logging.getLogger("mycelia.websocket")


def announce(runtime: Runtime) -> None:
    """Logs what clients may call, and which of it anybody may call although nobody said that it is `safe`.

    The warning is only given where it is sure that unknown clients get in: with authentication `optional`, or with
    neither an authenticator nor a `connect` handler.
    """
    resolver = runtime.dispatch.resolver
    routes = _reachable(runtime)
    handlers = sorted(resolver.handlers, key=lambda route: route.path)
    default = [f"{runtime.config.routing.default_path} (with whatever else)"] if resolver.default_is_own() else []
    shown = [_shown(route) for route in (*routes, *handlers)]
    logger.info("clients may call: %s", ", ".join([*shown, *default]) or "nothing")
    if not _lets_unknown_in(runtime) or runtime.config.routing.policy is not None:
        return
    open_to_all = [each for each in (*routes, *handlers) if not (each.authenticated or each.requires)]
    unsafe = [route.path for route in open_to_all if not route.safe and not route.path.startswith(_own(runtime))]
    if unsafe:
        logger.warning(
            "anybody may call, without being known: %s; expose='authenticated' or requires=… closes a path to "
            "strangers, and safe=True says of one that it changes nothing, so that it is not named here",
            ", ".join(unsafe),
        )


def _reachable(runtime: Runtime) -> list[Route]:
    resolver = runtime.dispatch.resolver
    routes = (route for subsystem in runtime.system.subsystems.values() for route in subsystem.routes)
    return sorted((each for each in routes if each.expose or resolver.exposes(each.path)), key=lambda route: route.path)


def _shown(route: Route) -> str:
    if route.requires:
        return f"{route.path} (requires {', '.join(sorted(route.requires))})"
    return f"{route.path} (authenticated)" if route.authenticated else route.path


def _lets_unknown_in(runtime: Runtime) -> bool:
    mode = runtime.config.authentication.mode
    return mode == "optional" or (mode == "off" and not runtime.lifecycle.wants("connect"))


def _own(runtime: Runtime) -> str:
    return f"{runtime.subsystem.name}://"
