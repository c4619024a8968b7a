"""Names the handler that blocks the event loop, while it does.

Nothing in a blocked loop can say what blocks it, so a thread looks at it now and then. It only reads one number
unless that number is old.
"""

from __future__ import annotations

import logging
import sys
import threading
from inspect import CO_OPTIMIZED
from time import monotonic
from types import FrameType

from mycelia.kernel.routing.router import Route

__all__ = ["StallWatch", "blamed"]

logger = logging.getLogger("mycelia.websocket")


class StallWatch:
    """Warns when the loop has not beaten for `after` seconds longer than it promised; once per stall."""

    def __init__(self, after: float, interval: float) -> None:
        self._after, self._interval = after, interval
        self._beat_at = 0.0
        self._loop_thread = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.stalls = 0
        self.last: str | None = None  # what blocked the loop last: the path of a route, else a place

    def start(self) -> None:
        """Begins to watch the thread that calls this."""
        self.beat()
        self._loop_thread = threading.get_ident()
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="mycelia-stall-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def beat(self) -> None:
        """The loop is alive, and promises the next beat in `interval` seconds."""
        self._beat_at = monotonic()

    def _watch(self) -> None:
        told = 0.0
        while not self._ended.wait(min(self._after, self._interval)):
            beat_at = self._beat_at
            blocked = monotonic() - beat_at - self._interval
            if blocked > self._after and beat_at != told:
                told = beat_at
                self._tell(blocked)

    def _tell(self, blocked: float) -> None:
        path, place = blamed(sys._current_frames().get(self._loop_thread))
        self.last = path or place
        self.stalls += 1
        by = f"the handler of {path}" if path else "no handler that is known"
        logger.warning("the event loop is blocked for %.1f s so far by %s, now in %s", blocked, by, place)


def blamed(frame: FrameType | None) -> tuple[str, str]:
    """The path of the route that a stack of frames is running (empty for none), and the innermost place of it."""
    place = "nowhere"
    if frame is not None:
        place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    while frame is not None:
        code = frame.f_code
        # Only where a function has a variable of that name: to read a frame's variables is to copy them.
        if code.co_flags & CO_OPTIMIZED and ("route" in code.co_varnames or "route" in code.co_freevars):
            route = frame.f_locals.get("route")
            if isinstance(route, Route):
                return route.path, place
        frame = frame.f_back
    return "", place
