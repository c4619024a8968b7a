"""What an Engine.IO session has its owner do, and why a session ends.

The keys are the owner's own names for requests and WebSockets (see `engineio_session`).
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from mycelia.protocol.engineio.packets import Refusal

__all__ = ["Beat", "End", "Ended", "Hang", "Output", "Received", "Reply", "Write", "refused"]


class End(Enum):
    """Why a session is over, with the code for the Close of its WebSocket."""

    CLIENT = (1000, "the client closed the session")
    SERVER = (1000, "the server closed the session")
    HEARTBEAT = (4505, "no answer to a ping")
    OVERLAP = (1002, "two requests of one kind at a time")
    FAULT = (1002, "a packet that is none, or not allowed here")
    OVERFLOW = (4504, "the client takes its packets too slowly")
    LOST = (1006, "the WebSocket is gone")

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text


class Reply(NamedTuple):
    """Answer the request `key`; it is over."""

    key: Hashable
    status: int
    body: bytes

    @property
    def content_type(self) -> str:
        return "text/plain; charset=UTF-8" if self.status == 200 else "application/json"


class Write(NamedTuple):
    """Send one message in the WebSocket `key`."""

    key: Hashable
    payload: bytes
    binary: bool


class Hang(NamedTuple):
    """Close the WebSocket `key`; it is over."""

    key: Hashable
    code: int
    reason: str


class Received(NamedTuple):
    """A message for whoever uses the session."""

    payload: bytes
    binary: bool


class Beat(NamedTuple):
    """The client sent a pong, asked for or not."""


class Ended(NamedTuple):
    """The session is over; comes exactly once, and nothing after it but what was said to other requests."""

    why: End
    code: int
    reason: str


Output = Reply | Write | Hang | Received | Beat | Ended


def refused(key: Hashable, refusal: Refusal) -> Reply:
    """The answer to a request that is refused."""
    return Reply(key, refusal.status, refusal.body)
