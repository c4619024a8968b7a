"""The exposure report at start-up: every path that clients may call, and a warning about open routes."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mycelia.kernel.routing.router import Route
from mycelia.realtime.config.config import Config
from mycelia.realtime.inbound.resolver import Resolver

__all__ = ["report_exposure"]

logger = logging.getLogger("mycelia.websocket")


def report_exposure(config: Config, resolver: Resolver, routes: Iterable[Route], own: str, has_connect: bool) -> None:
    """Log what clients may call. Warn about routes that unauthenticated clients can call and that are not `safe`.

    The warning is given only if unauthenticated clients certainly get in: with authentication "optional", or with
    neither an authenticator nor a `connect` handler.

    Args:
        config: The configuration.
        resolver: Knows what clients reach.
        routes: The routes of all subsystems.
        own: The name of the WebSocket subsystem, whose own routes are not warned about.
        has_connect: True if the application has a `connect` handler.
    """
    exposed = (route for route in routes if route.expose or resolver.exposes(route.path))
    reachable = [*sorted(exposed, key=_path), *sorted(resolver.handlers, key=_path)]
    default = [f"{config.routing.default_path} (with any path)"] if resolver.handles_default_path() else []
    logger.info("clients may call: %s", ", ".join([*map(_described, reachable), *default]) or "nothing")
    mode = config.authentication.mode
    lets_unauthenticated_in = mode == "optional" or (mode == "off" and not has_connect)
    if not lets_unauthenticated_in or config.routing.policy is not None:
        return
    unprotected = [route for route in reachable if not (route.authenticated or route.requires or route.safe)]
    unsafe = [route.path for route in unprotected if not route.path.startswith(f"{own}://")]
    if unsafe:
        logger.warning(
            "Unauthenticated clients can call these routes: %s. Set expose='authenticated' or requires=… to restrict a "
            "route, or safe=True if it only reads data.",
            ", ".join(unsafe),
        )


def _path(route: Route) -> str:
    return route.path


def _described(route: Route) -> str:
    if route.requires:
        return f"{route.path} (requires {', '.join(sorted(route.requires))})"
    return f"{route.path} (authenticated)" if route.authenticated else route.path
