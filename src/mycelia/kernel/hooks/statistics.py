"""The facet `statistics`: what a subsystem has done so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.node import Node

__all__ = ["Statistics", "use_statistics"]


class Statistics(Facet):
    """Reads the counters that routes and queue keep anyway."""

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem
        self._sources: dict[str, Callable[[], Mapping[str, Any]]] = {}

    def add(self, name: str, source: Callable[[], Mapping[str, Any]]) -> None:
        """Adds what another facet counts, under `name` of every snapshot."""
        self._sources[name] = source

    def snapshot(self) -> dict[str, Any]:
        """`{"handled", "failed", "routes": {path: {"handled", "failed"}}}`, and `queue` and what was added, if any."""
        routes = {each.path: {"handled": each.handled, "failed": each.failed} for each in self._subsystem.routes}
        found: dict[str, Any] = {
            "handled": sum(each["handled"] for each in routes.values()),
            "failed": sum(each["failed"] for each in routes.values()),
            "routes": routes,
        }
        queue = self._subsystem.find("queue")
        if queue is not None:
            found["queue"] = queue.snapshot()
        return found | {name: source() for name, source in self._sources.items()}


@hook(kind="statistics", requires=["router"])
def use_statistics(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the statistics facet."""
    return Statistics(subsystem)
