"""The exposure report of HTTP routes: all routes, those without a handler, and those without protection."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from mycelia.errors import InvalidPath
from mycelia.kernel.lifecycle import State
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.system import MessageSystem
from mycelia.server.router import SAFE_METHODS, HttpRoute
from mycelia.serving.exposure_report import log_exposure

__all__ = ["report_exposure"]

logger = logging.getLogger("mycelia.server")

_PARAMETER = re.compile(r"\{[^}]*\}")


def report_exposure(routes: Iterable[HttpRoute], system: MessageSystem, *, is_required: bool) -> None:
    """Log every route with its target. Warn about targets without a handler, and about unprotected routes.

    Args:
        routes: The HTTP routes.
        system: Finds the routes of the targets.
        is_required: True if every client must authenticate. Then no route is unprotected.
    """
    ordered = sorted(routes, key=lambda each: (each.path, each.method))
    without_handler = [_named(each) for each in ordered if not _has_handler(each, system)]
    if without_handler:
        logger.warning(
            "HTTP routes without a handler (they return 404 until a subsystem registers the target): %s",
            ", ".join(without_handler),
        )
    changing = [] if is_required else [each for each in ordered if each.method not in SAFE_METHODS]
    unprotected = [each.text for each in changing if _is_unprotected(each, system)]
    protection = "authenticated=True or requires=…"
    log_exposure(logger, "HTTP clients", [_named(each) for each in ordered], unprotected, protection)


def _named(route: HttpRoute) -> str:
    return f"{route.text} → {route.target}"


def _has_handler(route: HttpRoute, system: MessageSystem) -> bool:
    """Return True if the target may match an existing route, whatever values its parameters have."""
    target = Pattern.parse(route.target)
    owner = system.find(target.subsystem)
    if owner is None or owner.state is not State.BUILT:
        return False
    return any(_overlap(target, each.pattern) for each in owner.routes)


def _overlap(target: Pattern, other: Pattern) -> bool:
    """Return True if some path matches both patterns of one subsystem. The target has no `*`."""
    wanted, given = target.segments, other.segments
    if len(wanted) <= len(given) if other.rest else len(wanted) != len(given):
        return False
    return all(one is None or two is None or one == two for one, two in zip(wanted, given, strict=False))


def _is_unprotected(route: HttpRoute, system: MessageSystem) -> bool:
    """Return True if neither the HTTP route nor its target asks for an authenticated client or a permission."""
    if route.guard.authenticated or route.guard.requires:
        return False
    try:
        found = system.match(_PARAMETER.sub("x", route.target))
    except InvalidPath:
        return True
    return found is None or not (found[0].authenticated or found[0].requires or found[0].safe)
