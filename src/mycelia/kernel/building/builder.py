"""Builds a subsystem's facets: first everything that can be known beforehand, then the doing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mycelia.errors import BuildError
from mycelia.kernel.building.hook import Api, Context, Hook
from mycelia.kernel.facet import Facet

__all__ = ["execute", "taken", "verify"]


def taken(cls: type) -> frozenset[str]:
    """Names that a facet may not attach as, since a subsystem of this class has them itself."""
    return frozenset(dir(cls)) | {"name", "parent", "children", "config", "state", "middleware", "ms"}


def verify(subsystem: str, hooks: Iterable[Hook], taken: frozenset[str] = frozenset()) -> list[Hook]:
    """The hooks in the order of their building: what is required first, else as they were given.

    Raises BuildError for two hooks of one kind, a kind that nobody provides, a cycle (named), and a
    kind to attach whose name is `taken` by the subsystem itself. Nothing has run by then.
    """
    chosen: dict[str, Hook] = {}
    for each in hooks:
        held = chosen.get(each.kind)
        if held is not None and not each.overwrite:
            raise BuildError(subsystem, f"two hooks of kind {each.kind!r}: {held} and {each}; overwrite=True replaces")
        if each.attach and each.kind in taken:
            raise BuildError(
                subsystem, f"{each} cannot attach {each.kind!r}: the subsystem has that name; attach=False"
            )
        chosen[each.kind] = each
    ordered: list[Hook] = []
    placed: set[str] = set()

    def place(each: Hook, trail: tuple[str, ...]) -> None:
        if each.kind in trail:
            cycle = (*trail[trail.index(each.kind) :], each.kind)
            raise BuildError(subsystem, f"hooks require each other: {' → '.join(cycle)}")
        if each.kind in placed:
            return
        for kind in each.requires:
            if kind not in chosen:
                there = ", ".join(sorted(chosen))
                raise BuildError(subsystem, f"{each} requires {kind!r}, which is not among {there}")
            place(chosen[kind], (*trail, each.kind))
        placed.add(each.kind)
        ordered.append(each)

    for each in chosen.values():
        place(each, ())
    return ordered


async def execute(ordered: Iterable[Hook], ctx: Context, api: Api, subsystem: Any, facets: dict[str, Facet]) -> None:
    """Runs the hooks in order and initialises each facet before the next hook runs.

    `facets` is filled as it goes, so that whoever called can undo exactly what was done. Anything but
    a cancellation becomes a BuildError that names the hook, with the cause chained.
    """
    for each in ordered:
        try:
            facet = each(ctx, api, subsystem)
            if not isinstance(facet, Facet):
                raise BuildError(ctx.name, f"{each}: expected a Facet, got {type(facet).__name__}")
            # From here on it may hold something, so it is in the books before anything else can fail.
            facets[each.kind] = facet
            complaint = None if each.contract is None else each.contract.complaint(facet)
            if complaint is not None:
                raise BuildError(ctx.name, f"{each}: {complaint}")
            await facet.init()
        except BuildError:
            raise
        except Exception as fault:
            raise BuildError(ctx.name, f"{each} raised {type(fault).__name__}: {fault}") from fault
