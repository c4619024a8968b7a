"""The ports of a link: what it reports to the rest of the subsystem, and what it gets from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mycelia.realtime.connection.work import Receive
from mycelia.transports.seam import Control

__all__ = ["LinkPorts"]

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class LinkPorts(Generic[L]):
    """What the links of one subsystem report to it and get from it.

    Args:
        opened: The handshake is complete and the transport is set.
        stopped: The link stops sending.
        failed: A fault with this close code ends the connection; called once at most.
        closed: The transport is gone; called exactly once for each opened link.
        allows_control: Counts a control frame or a fragment. Returns False if the link was closed for it.
        rate_limited: Counts a message that the rate limit of a route refused.
        due: Checks the liveness of a link; returns in how many seconds to check again, 0 for never.
        receiver: Returns what takes the messages of an open link.
        refuser: Returns what refuses the messages of an open link.
        send_queue_bytes: The bound of a send queue.
        held_requests: The most messages that are held before `connect` is answered.
        held_bytes: The most bytes of such messages.
    """

    opened: Callable[[L], None]
    stopped: Callable[[L], None]
    failed: Callable[[int], None]
    closed: Callable[[L, int, str], None]
    allows_control: Callable[[L, Control, bytes], bool]
    rate_limited: Callable[[L], None]
    due: Callable[[L, float], float]
    receiver: Callable[[L], Receive]
    refuser: Callable[[L], Receive]
    send_queue_bytes: int
    held_requests: int
    held_bytes: int
