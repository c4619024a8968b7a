"""What clients of HTTP may call, said at the start, with warnings: what nobody answers, what anybody may change."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from mycelia.errors import InvalidPath
from mycelia.kernel.building.lifecycle import State
from mycelia.kernel.routing.path import Pattern
from mycelia.server.requests.router import SAFE, HttpRoute

if TYPE_CHECKING:
    from mycelia.server.core import Runtime

__all__ = ["announce"]

logger = logging.getLogger("mycelia.server")

_PARAMETER = re.compile(r"\{[^}]*\}")


def announce(runtime: Runtime) -> None:
    """Logs every route with its target, those whose target is not there, and those that let strangers change things."""
    routes = sorted(runtime.router, key=lambda each: (each.path, each.method))
    shown = ", ".join(f"{each.text} → {each.target}" for each in routes)
    logger.info("clients of HTTP may call: %s", shown or "nothing")
    lost = [f"{each.text} → {each.target}" for each in routes if not _answered(runtime, each)]
    if lost:
        logger.warning("nobody answers yet, hence 404 until a subsystem registers the path: %s", ", ".join(lost))
    if runtime.config.authentication.mode == "required":
        return
    unsafe = [each.text for each in routes if each.method not in SAFE and _open(runtime, each)]
    if unsafe:
        logger.warning(
            "anybody may call, without being known: %s; authenticated=True or requires=… closes a route to strangers, "
            "and safe=True of its Mycelia route says that it changes nothing, so that it is not named here",
            ", ".join(unsafe),
        )


def _answered(runtime: Runtime, http: HttpRoute) -> bool:
    """Whether the target leads to some route that is there now, whatever its parameters are filled with."""
    target = Pattern.parse(http.target)
    owner = runtime.system.find(target.subsystem)
    if owner is None or owner.state is not State.BUILT:
        return False
    return any(_meet(target, each.pattern) for each in owner.routes)


def _meet(target: Pattern, other: Pattern) -> bool:
    """Whether some path is for both patterns, which are of one subsystem; the target has no `*`."""
    wanted, given = target.segments, other.segments
    if len(wanted) <= len(given) if other.rest else len(wanted) != len(given):
        return False
    return all(one is None or two is None or one == two for one, two in zip(wanted, given, strict=False))


def _open(runtime: Runtime, http: HttpRoute) -> bool:
    if http.door.authenticated or http.door.requires:
        return False
    try:
        found = runtime.system.match(_PARAMETER.sub("x", http.target))
    except InvalidPath:
        return True
    return found is None or not (found[0].authenticated or found[0].requires or found[0].safe)
