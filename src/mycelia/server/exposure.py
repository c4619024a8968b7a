"""What clients of HTTP may call, said at the start, and a warning of what anybody may change."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from mycelia.errors import InvalidPath
from mycelia.server.router import SAFE, HttpRoute

if TYPE_CHECKING:
    from mycelia.server.runtime import Runtime

__all__ = ["announce"]

logger = logging.getLogger("mycelia.server")

_PARAMETER = re.compile(r"\{[^}]*\}")


def announce(runtime: Runtime) -> None:
    """Logs every route with its target, and which of those that change something are open to unknown clients."""
    routes = sorted(runtime.router, key=lambda each: (each.path, each.method))
    shown = ", ".join(f"{each.text} → {each.target}" for each in routes)
    logger.info("clients of HTTP may call: %s", shown or "nothing")
    if runtime.config.authentication.mode == "required":
        return
    unsafe = [each.text for each in routes if each.method not in SAFE and _open(runtime, each)]
    if unsafe:
        logger.warning(
            "anybody may call, without being known: %s; authenticated=True or requires=… closes a route to strangers, "
            "and safe=True of its Mycelia route says that it changes nothing, so that it is not named here",
            ", ".join(unsafe),
        )


def _open(runtime: Runtime, http: HttpRoute) -> bool:
    if http.door.authenticated or http.door.requires:
        return False
    try:
        found = runtime.system.match(_PARAMETER.sub("x", http.target))
    except InvalidPath:
        return True
    return found is None or not (found[0].authenticated or found[0].requires or found[0].safe)
