"""The states of a transport."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["TransportState"]


class TransportState(IntEnum):
    """The state of a transport. It only ever moves down this list."""

    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2  # our Close frame is sent: the transport sends nothing more and drops incoming messages
    CLOSED = 3
