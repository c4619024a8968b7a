"""The facet `hierarchy`: where a subsystem stands among others."""

from __future__ import annotations

from collections.abc import Iterator

from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.node import Node

__all__ = ["Hierarchy", "use_hierarchy"]


class Hierarchy(Facet):
    """The tree around one subsystem."""

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem

    @property
    def parent(self) -> Node | None:
        """The subsystem above; None at the top."""
        return self._subsystem.parent

    @property
    def root(self) -> Node:
        """The top of the tree."""
        return self._subsystem.root

    @property
    def children(self) -> tuple[Node, ...]:
        """The subsystems right below, in the order in which they were added."""
        return tuple(self._subsystem.children)

    def walk(self) -> Iterator[Node]:
        """The subsystem and everything below it, depth first, parents before children."""
        return self._subsystem.walk()

    def find(self, name: str) -> Node | None:
        """The subsystem of that name, here or below; None when there is none."""
        return next((each for each in self.walk() if each.name == name), None)


@hook(kind="hierarchy")
def use_hierarchy(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the hierarchy facet."""
    return Hierarchy(subsystem)
