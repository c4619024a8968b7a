"""The actions that an Engine.IO session asks its owner to do, and the reasons why a session ends.

A `key` is the owner's own name for a request or a WebSocket (see `session`).
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from mycelia.protocol.engineio.requests import ErrorResponse

__all__ = ["Action", "CloseWebSocket", "EndReason", "Ended", "Heartbeat", "Received", "Respond", "Write", "reject"]


class EndReason(Enum):
    """The reasons for the end of a session, each with the code and the reason for the Close frame of its WebSocket."""

    CLIENT = (1000, "the client closed the session")
    SERVER = (1000, "the server closed the session")
    HEARTBEAT = (4505, "no answer to a ping")
    OVERLAP = (1002, "two requests of the same kind at once")
    FAULT = (1002, "an invalid packet, or one that is not allowed here")
    SLOW_CONSUMER = (4504, "the client takes its packets too slowly")
    LOST = (1006, "the WebSocket connection was lost")

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason


class Respond(NamedTuple):
    """Answer the request `key`, which is then complete."""

    key: Hashable
    status: int
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type of the body: packets, or the JSON of an error."""
        return "text/plain; charset=UTF-8" if self.status == 200 else "application/json"


class Write(NamedTuple):
    """Send one message in the WebSocket `key`."""

    key: Hashable
    payload: bytes
    binary: bool


class CloseWebSocket(NamedTuple):
    """Close the WebSocket `key`, which the session does not use any more."""

    key: Hashable
    code: int
    reason: str


class Received(NamedTuple):
    """Hand a message of the client to the user of the session."""

    payload: bytes
    binary: bool


class Heartbeat(NamedTuple):
    """Report a pong of the client, solicited or not."""


class Ended(NamedTuple):
    """Report the end of the session. It comes exactly once; only responses to other requests can follow it."""

    why: EndReason
    code: int
    reason: str


Action = Respond | Write | CloseWebSocket | Received | Heartbeat | Ended


def reject(key: Hashable, error: ErrorResponse) -> Respond:
    """Return the action that answers a request with an error response."""
    return Respond(key, error.status, error.body)
