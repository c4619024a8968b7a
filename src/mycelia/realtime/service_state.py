"""Whether the subsystem takes new clients, stops, or cancels its tasks."""

from __future__ import annotations

__all__ = ["ServiceState"]


class ServiceState:
    """The switches that start, drain and stop set, and that admission, workers and the lifecycle read.

    Attributes:
        is_accepting: False from the moment a drain begins: handshakes get 503.
        is_stopping: True from the moment `stop` begins: cancelled handlers end without a reply.
        is_cancelling: True while the tasks that did not end in time are being cancelled.
    """

    __slots__ = ("is_accepting", "is_cancelling", "is_stopping")

    def __init__(self) -> None:
        self.is_accepting = True
        self.is_stopping = self.is_cancelling = False

    def reset(self) -> None:
        """Take new clients again, at a start."""
        self.is_accepting = True
        self.is_stopping = self.is_cancelling = False
