"""The facet `health`: whether a subsystem can do its work."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.node import Node

__all__ = ["Check", "Health", "use_health"]

Check = Callable[[], bool | Awaitable[bool]]

_log = logging.getLogger("mycelia.kernel")


class Health(Facet):
    """Named checks; without any, a built subsystem is healthy."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Adds or replaces a check, plain or async, that returns whether all is well."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Takes a check out; without one of that name nothing happens."""
        self._checks.pop(name, None)

    async def report(self) -> dict[str, Any]:
        """`{"healthy": bool, "checks": {name: bool}}`; a check that raises has failed."""
        checks: dict[str, bool] = {}
        for name, check in list(self._checks.items()):
            try:
                said = check()
                checks[name] = bool(await said if inspect.isawaitable(said) else said)
            except Exception:
                _log.exception("health check %s failed", name)
                checks[name] = False
        return {"healthy": all(checks.values()), "checks": checks}


@hook(kind="health")
def use_health(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the health facet."""
    return Health()
