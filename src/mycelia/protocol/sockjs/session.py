"""One SockJS session over HTTP, on the server's side: what goes to whom, and when it ends.

A session lives on requests: at most one that receives, and others that bring messages. Whoever owns the requests names
each by a key of its own choice, says what happens to it, and does what the returned outputs say, in their order.
Nothing here waits or reads a clock: `now` is any clock that only goes forward, `due` is when `tick` is wanted next.

A session that is over answers for a while yet, with the frame that says why; then it is to be forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from mycelia.protocol.sockjs.frames import HEARTBEAT, OPEN, closing_frame, message_frame
from mycelia.protocol.sockjs.response_formats import Style
from mycelia.protocol.wire.codes import Close, may_send

__all__ = ["Drop", "End", "Ended", "Finish", "Forget", "Output", "Received", "Session", "SessionTerms", "Write"]

_COST: Final = 64  # bytes that a waiting message takes besides its text
_OCCUPIED: Final = closing_frame(2010, "Another connection still open")
_INTERRUPTED: Final = closing_frame(1002, "Connection interrupted")


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """The times and bounds of a session. Durations are seconds."""

    heartbeat: float = 25.0
    timeout: float = 5.0  # without a request that receives
    close_timeout: float = 2.0
    response_bytes: int = 128 * 1024  # after which a streaming response ends


class End(Enum):
    """Why a session is over."""

    SERVER = "the server closed it, and the client was told"
    ABORTED = "the server ended it, and nobody was there to be told"
    LOST = "a request that received was given up"
    SILENT = "no request came to receive"


class Write(NamedTuple):
    """Send this to the request `key`."""

    key: Hashable
    payload: bytes


class Finish(NamedTuple):
    """The response to `key` is whole."""

    key: Hashable


class Drop(NamedTuple):
    """The response to `key` is to end now, whatever of it is not sent."""

    key: Hashable


class Received(NamedTuple):
    """Messages for whoever uses the session."""

    messages: Sequence[bytes]


class Ended(NamedTuple):
    """The session is over; comes exactly once."""

    why: End


class Forget(NamedTuple):
    """The session answers no more; comes exactly once, after Ended."""


Output = Write | Finish | Drop | Received | Ended | Forget


class Session:
    """The state of one session; every method returns what is to be done now, in order."""

    __slots__ = (
        "_beat_due", "_close_due", "_closing", "_key", "_last", "_silent_due", "_style", "_terms", "_unsent",
        "_waiting", "_written", "buffered", "forgotten", "opened", "over",
    )  # fmt: skip

    def __init__(self, terms: SessionTerms, now: float) -> None:
        self._terms = terms
        self.opened = self.over = self.forgotten = False
        self.buffered = 0  # bytes of messages that wait for a request
        self._waiting: deque[bytes] = deque()
        self._key: Hashable = None  # the request that receives
        self._style: Style | None = None
        self._written = 0  # to this request
        self._unsent: set[Hashable] = set()  # responses that are whole and may still be lost
        self._closing = b""  # the frame that the server closes with
        self._last = b""  # the frame that says why it is over
        self._beat_due = self._close_due = inf
        self._silent_due = now + terms.timeout

    @property
    def due(self) -> float:
        """When `tick` is wanted next; infinity for never."""
        return inf if self.forgotten else min(self._beat_due, self._close_due, self._silent_due)

    @property
    def receiving(self) -> bool:
        """Whether a request is there to receive."""
        return self._key is not None

    # -- requests ------------------------------------------------------------------------------------

    def receive(self, key: Hashable, style: Style, now: float) -> list[Output]:
        """A request that receives. The first one opens the session."""
        if self.over:
            return [Write(key, style.wrap(self._last)), Finish(key)]
        if self._key is not None:
            return [Write(key, style.wrap(_OCCUPIED)), Finish(key)]
        out: list[Output] = []
        self._key, self._style, self._written = key, style, 0
        self._silent_due = inf
        self._beat_due = now + self._terms.heartbeat
        if not self.opened:
            self.opened = True
            self._write(OPEN, now, out)
        self._flush(now, out)
        return out

    def bring(self, messages: Sequence[bytes]) -> list[Output]:
        """Messages from the client; dropped once the server has closed."""
        return [] if self.over or self._closing or not messages else [Received(messages)]

    def sent(self, key: Hashable) -> None:
        """A response that was whole is on its way."""
        self._unsent.discard(key)

    def gone(self, key: Hashable, now: float) -> list[Output]:
        """A response was given up by its client before all of it was sent."""
        out: list[Output] = []
        if key is None or (key != self._key and key not in self._unsent):
            return out
        if key == self._key:
            self._key = None
        elif self._key is not None and self._style is not None:  # whoever receives now is told of the loss before
            out += [Write(self._key, self._style.wrap(_INTERRUPTED)), Finish(self._key)]
            self._key = None
        self._end(End.LOST, self._closing or _INTERRUPTED, now, out)
        return out

    # -- what the server does ------------------------------------------------------------------------

    def put(self, quoted: bytes) -> None:
        """A message for the client, in quotes; it leaves with the next `flush`. After the end it is dropped."""
        if not self.over and not self._closing:
            self._waiting.append(quoted)
            self.buffered += len(quoted) + _COST

    def flush(self, now: float) -> list[Output]:
        """Lets leave what waits, if there is a request for it."""
        out: list[Output] = []
        self._flush(now, out)
        return out

    def close(self, code: int, reason: str, now: float, *, behind: bool = True) -> list[Output]:
        """Ends the session: behind what waits, at the latest `close_timeout` from now; or at once, without that."""
        out: list[Output] = []
        if self.over or self._closing:
            return out
        self._closing = closing_frame(code if may_send(code) else int(Close.NORMAL), reason)
        self._close_due = now + self._terms.close_timeout
        if not behind:
            self._waiting.clear()
            self.buffered = 0
        self._flush(now, out)
        return out

    def abort(self, now: float) -> list[Output]:
        """Ends the session now; what waits is lost."""
        out: list[Output] = []
        self._end(End.ABORTED, self._closing or _INTERRUPTED, now, out)
        return out

    def tick(self, now: float) -> list[Output]:
        """What the time brings: a heartbeat, or an end to waiting."""
        out: list[Output] = []
        if now >= self._close_due:
            self._end(End.ABORTED, self._closing, now, out)
        if now >= self._silent_due:
            if not self.over:
                self._end(End.SILENT, _INTERRUPTED, now, out)
            if not self.forgotten:
                self.forgotten = True
                out.append(Forget())
        elif now >= self._beat_due:
            self._write(HEARTBEAT, now, out)
        return out

    # -- inside --------------------------------------------------------------------------------------

    def _flush(self, now: float, out: list[Output]) -> None:
        """Lets everything leave that can leave now; behind it the end, where there is one."""
        if self._key is not None and self._waiting:
            quoted, self._waiting = self._waiting, deque()
            self.buffered = 0
            self._write(message_frame(quoted), now, out)
        if self._closing and not self._waiting and self._key is not None:
            self._write(self._closing, now, out)
            if self._key is not None:
                self._finish(now, out)
            self._end(End.SERVER, self._closing, now, out)

    def _write(self, frame: bytes, now: float, out: list[Output]) -> None:
        """One frame to the request that receives, which ends when it has had enough."""
        assert self._style is not None, "somebody receives"
        key, payload = self._key, self._style.wrap(frame)
        out.append(Write(key, payload))
        self._written += len(payload)
        self._beat_due = now + self._terms.heartbeat
        if not self._style.streaming or self._written >= self._terms.response_bytes:
            self._finish(now, out)

    def _finish(self, now: float, out: list[Output]) -> None:
        out.append(Finish(self._key))
        self._unsent.add(self._key)
        self._key = self._style = None
        self._beat_due, self._silent_due = inf, now + self._terms.timeout

    def _end(self, why: End, last: bytes, now: float, out: list[Output]) -> None:
        if self.over:
            return
        self.over, self._last = True, last
        if self._key is not None:
            out.append(Drop(self._key))
        self._key = self._style = None
        self._waiting.clear()
        self._unsent.clear()
        self.buffered = 0
        self._beat_due = self._close_due = inf
        self._silent_due = now if why is End.SILENT else now + self._terms.timeout
        out.append(Ended(why))
