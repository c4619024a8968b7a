"""The canonical hooks: what every subsystem is made of unless it says otherwise."""

from __future__ import annotations

from mycelia.kernel.building.hook import Hook
from mycelia.kernel.hooks.health import use_health
from mycelia.kernel.hooks.hierarchy import use_hierarchy
from mycelia.kernel.hooks.listeners import use_listeners
from mycelia.kernel.hooks.messages import use_messages
from mycelia.kernel.hooks.processor import use_processor
from mycelia.kernel.hooks.queue import use_queue
from mycelia.kernel.hooks.router import use_router
from mycelia.kernel.hooks.statistics import use_statistics

__all__ = [
    "canonical_hooks",
    "use_health",
    "use_hierarchy",
    "use_listeners",
    "use_messages",
    "use_processor",
    "use_queue",
    "use_router",
    "use_statistics",
]


def canonical_hooks(*, queue: bool = False) -> list[Hook]:
    """The canonical hooks in order; the queue's only when asked for, since processing is immediate."""
    hooks = [use_hierarchy, use_router, use_messages, use_processor]
    if queue:
        hooks.append(use_queue)
    return [*hooks, use_listeners, use_statistics, use_health]
