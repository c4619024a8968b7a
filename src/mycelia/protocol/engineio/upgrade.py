"""The move of an Engine.IO session from HTTP to a WebSocket: `2probe`, `3probe`, `5`."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from math import inf
from typing import Final

__all__ = ["Step", "Upgrade"]

_NOOP_DELAY: Final = 0.1  # seconds until a GET is answered in an upgrade: it may have overtaken the end of that


class Step(Enum):
    """What a text in the new WebSocket brought."""

    PROBED = "it is to be answered `3probe`"
    DONE = "the session lives there from now on"
    WRONG = "the WebSocket is to be hung up"


class Upgrade:
    """The WebSocket that a session may move to, by its owner's key, and the times of the move."""

    __slots__ = ("_timeout", "due", "key", "noop_due", "probed")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.key: Hashable = None
        self.probed = False
        self.due = inf  # when the move has taken too long
        self.noop_due = inf  # when a GET that still waits is answered

    def begin(self, key: Hashable, now: float) -> None:
        """There is a WebSocket that names the session."""
        self.key, self.due = key, now + self._timeout

    def waits(self, now: float) -> None:
        """A GET waits; while the session moves it does not wait for long."""
        if self.probed:
            self.noop_due = now + _NOOP_DELAY

    def step(self, text: bytes, get: bool, now: float) -> Step:
        """One text; `get` says whether a GET waits. Afterwards only what was probed is still on its way."""
        if not self.probed and text == b"2probe":
            self.probed = True
            self.waits(now)
            return Step.PROBED
        done = self.probed and text == b"5"
        self.forget()
        if not done:
            return Step.WRONG
        if get:
            self.noop_due = now + _NOOP_DELAY
        return Step.DONE

    def forget(self) -> None:
        """The session moves nowhere."""
        self.key, self.probed = None, False
        self.due = self.noop_due = inf
