"""What a hook gives its subsystem."""

from __future__ import annotations

__all__ = ["Facet"]


class Facet:
    """One ability of a subsystem, made by a hook while the subsystem is built.

    All five moments are optional. `init` runs once in `build()`, in dependency order, after the facets
    that it requires; `start` and `stop` when the system starts and stops the subsystem; `drain` before a
    planned stop; `dispose` exactly once for every facet whose hook returned, in reverse order, also when a
    later one failed.
    """

    async def init(self) -> None:
        """Prepares the facet; raising here rolls the whole build back."""

    async def start(self) -> None:
        """Begins to serve."""

    def is_running(self) -> bool:
        """Whether somebody has started it already; then the system does not start it again."""
        return False

    async def drain(self, deadline: float) -> None:
        """Takes on nothing new and finishes what was accepted, within `deadline` seconds; `stop` follows."""

    async def stop(self) -> None:
        """Ends what `start` began."""

    async def dispose(self) -> None:
        """Gives back everything that the facet holds."""
