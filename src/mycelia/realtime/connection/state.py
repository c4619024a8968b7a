"""Where a connection of the subsystem stands."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Phase"]


class Phase(IntEnum):
    """It only ever moves down this list."""

    NEW = 0
    PENDING = 1  # its `connect` has not been answered: found by id, seen by nobody else, frames held
    OPEN = 2
    CLOSING = 3  # our Close is out, or on its way
    CLOSED = 4  # gone; readable until its `disconnect` has run
