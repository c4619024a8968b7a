"""What a connection receives: where its messages go, what waits in its backlog, and the worker that handles it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from mycelia.auth import Credential
from mycelia.protocol.http.request import Handshake as RequestHead
from mycelia.protocol.wire.envelope import Event, Request

__all__ = [
    "Inbound",
    "LinkWorker",
    "PendingHandshake",
    "RateLimitedRequest",
    "Receive",
    "UntransformedMessage",
    "WholeMessage",
    "Work",
]

Receive = Callable[[bytes, bool], None]
"""Take one message: its payload, and True if it is binary."""


@dataclass(frozen=True, slots=True)
class PendingHandshake:
    """An accepted handshake that `connect` or an authenticator has not seen yet.

    Args:
        request: The head of the HTTP request.
        credential: The credential that was read from it.
    """

    request: RequestHead
    credential: Credential


class UntransformedMessage(Struct):
    """A decoded message to which the application's incoming transform has not been applied yet."""

    value: object


class WholeMessage(Struct):
    """An envelope with the value that it was decoded from, for an application that handles the default path."""

    envelope: Request | Event
    value: object


class RateLimitedRequest(Request, frozen=True):
    """A request above a rate limit. It waits for its turn and is then answered RATE_LIMITED; no handler runs.

    `wait` is the number of seconds after which the client may try again.
    """

    wait: float = 0.0


Work = Request | Event | WholeMessage | UntransformedMessage | None
"""One entry of a backlog.

None stands for a large message that is decoded when its turn comes. The backlog is bounded in encoded bytes, and
decoded values can take twenty times as much memory.
"""


class Inbound(Enum):
    """Where a link sends the messages that it receives."""

    HOLDING = "holding"  # `connect` has not been answered: keep them
    ACCEPTING = "accepting"  # to the receiver
    SHEDDING = "shedding"  # overload: refuse requests until the overload ends
    REFUSING = "refusing"  # the server drains this connection: refuse requests from now on
    DROPPING = "dropping"  # the connection is closing


class LinkWorker(Protocol):
    """The worker of a connection, as the rest of the subsystem sees it."""

    put: Callable[[Work, bytes], None]
    flush: Callable[[], None]
    is_stopping: bool

    @property
    def is_idle(self) -> bool:
        """True if no request runs or waits."""

    @property
    def is_corked(self) -> bool:
        """True if replies are held back until `flush`."""

    @property
    def unanswered(self) -> int:
        """The number of requests that run or wait."""

    @property
    def tasks(self) -> Collection[asyncio.Task[Any]]:
        """The tasks that run requests of this connection."""

    def clear_backlog(self) -> None:
        """Drop the requests that wait. Running requests go on."""

    def retire(self) -> None:
        """End the task if it is idle."""

    def cut_short(self) -> int:
        """Refuse what waits and cancel what runs; return how many requests that were."""

    async def finish(self, seconds: float) -> None:
        """Handle the requests that were received before the client's Close, for at most `seconds`."""

    def stop(self) -> None:
        """Cancel what runs and drop what waits, because the client is gone."""
