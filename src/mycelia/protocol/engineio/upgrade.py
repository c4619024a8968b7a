"""The upgrade of an Engine.IO session from HTTP to a WebSocket: `2probe`, `3probe`, `5`."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Final

from mycelia.protocol.engineio.actions import Action, CloseWebSocket, Write
from mycelia.protocol.engineio.packets import Packet, PacketKind, write_frame

__all__ = ["Upgrade"]

_PROBE_ANSWER: Final = write_frame(Packet(PacketKind.PONG, b"probe"))
_NOOP_DELAY: Final = 0.1  # seconds until a GET is answered during an upgrade; it may have overtaken the client's `5`


class Upgrade:
    """The WebSocket that a session may move to, and the times of that move.

    Attributes:
        key: The owner's key of the WebSocket, or None.
        probed: True if the client has sent its probe.
        due: The time at which the upgrade has taken too long.
        noop_due: The time at which a GET that still waits is answered.
    """

    __slots__ = ("_timeout", "due", "key", "noop_due", "probed")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.key: Hashable = None
        self.probed = False
        self.due = inf
        self.noop_due = inf

    def begin(self, key: Hashable, now: float) -> None:
        """Begin the upgrade to a WebSocket that names the session."""
        self.key, self.due = key, now + self._timeout

    def limit_get(self, now: float) -> None:
        """Limit how long a GET waits, if the client has sent its probe."""
        if self.probed:
            self.noop_due = now + _NOOP_DELAY

    def receive(self, payload: bytes, get_waits: bool, now: float, actions: list[Action]) -> bool:
        """Handle a message in the new WebSocket; return True if it completes the upgrade.

        The probe is answered. Any other message ends the upgrade and closes the WebSocket.

        Args:
            payload: The message.
            get_waits: True if a GET of the session waits for its response.
            now: The current time.
            actions: The list to which the actions are added.
        """
        if not self.probed and payload == b"2probe":
            self.probed = True
            self.limit_get(now)
            actions.append(Write(self.key, *_PROBE_ANSWER))
            return False
        key, completed = self.key, self.probed and payload == b"5"
        self.cancel()
        if not completed:
            actions.append(CloseWebSocket(key, 1002, "expected `2probe` and then `5` to upgrade"))
        elif get_waits:
            self.noop_due = now + _NOOP_DELAY
        return completed

    def check_timeout(self, now: float, actions: list[Action]) -> None:
        """Give up an upgrade that has taken too long."""
        if now >= self.due:
            actions.append(CloseWebSocket(self.key, 1002, "the upgrade took too long"))
            self.cancel()

    def cancel(self) -> None:
        """Forget the WebSocket and all times."""
        self.key, self.probed = None, False
        self.due = self.noop_due = inf
