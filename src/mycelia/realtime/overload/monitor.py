"""The overload monitor: measures the process and decides when new work is refused. Accepted work goes on.

Four times a second the monitor measures how late the event loop is, how much memory the process holds and how many
requests run or wait. Without overload that is its whole cost: it looks at no message.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from mycelia.observability.loop_watchdog import StallWatch as LoopWatchdog
from mycelia.realtime.config.sections import OverloadConfig
from mycelia.realtime.overload.memory_trim import MemoryTrim

__all__ = ["TICK", "OverloadMonitor", "resident_bytes"]

logger = logging.getLogger("mycelia.websocket")

TICK = 0.25  # seconds between two checks
_PERIOD = 10.0  # seconds between two log lines about one kind of overload


class OverloadMonitor:
    """Checks the bounds and calls `shed` when new work has to be refused, and when it may be accepted again.

    Overload ends below 90 % of a bound, and below half of the lag bound, so that it does not switch back and forth. One
    late check means that a handler blocked the event loop and has ended. Two late checks in a row mean overload.

    Args:
        config: The section `overload`.
        shed: Called with True at every check during overload, and with False at its end.
        requests: Returns the number of requests that run or wait.
        resident: Returns the memory that the process holds, in bytes.
        trim: Gives memory back to the system.

    Attributes:
        lag: How late the last check was, in seconds.
        worst_lag: The greatest lag so far, in seconds.
        times: How often overload began.
    """

    def __init__(
        self,
        config: OverloadConfig,
        shed: Callable[[bool], None],
        requests: Callable[[], int],
        resident: Callable[[], int] | None = None,
        trim: MemoryTrim | None = None,
    ) -> None:
        self._config, self._shed = config, shed
        self._trim = MemoryTrim() if trim is None else trim
        self._requests, self._resident = requests, resident_bytes if resident is None else resident
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._watchdog = LoopWatchdog(config.stall_warning, TICK) if config.stall_warning else None
        self._without_descriptor: Callable[[], int] = _none
        self._without_descriptor_logged = 0
        self._logged_at = self._descriptors_logged_at = float("-inf")
        self._reasons: frozenset[str] = frozenset()
        self.lag = self.worst_lag = 0.0
        self.times = 0

    @property
    def is_overloaded(self) -> bool:
        """True while new work is refused."""
        return bool(self._reasons)

    def start(self, without_descriptor: Callable[[], int] | None = None) -> None:
        """Begin to check. `without_descriptor` counts the connections refused for lack of file descriptors."""
        if without_descriptor is not None:
            self._without_descriptor = without_descriptor
        self.lag = 0.0
        if self._watchdog is not None:
            self._watchdog.start()
        self._arm()

    def stop(self) -> None:
        """Stop checking, and refuse nothing any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._reasons:
            self._reasons = frozenset()
            self._shed(False)

    def snapshot(self) -> dict[str, Any]:
        """Return the gauges for `system.statistics()`."""
        return {
            "lag": self.lag,
            "worstLag": self.worst_lag,
            "shedding": sorted(self._reasons),
            "times": self.times,
            "stalls": 0 if self._watchdog is None else self._watchdog.stalls,
            "lastStall": None if self._watchdog is None else self._watchdog.last,
            "starved": self._without_descriptor(),
        }

    def check(self, lag: float) -> None:
        """Check every bound, with an event loop that is `lag` seconds late."""
        config, before = self._config, self._reasons
        found: set[str] = set()
        if config.max_lag and min(lag, self.lag) > config.max_lag / (2 if "lag" in before else 1):
            found.add("lag")
        if _beyond(config.max_requests, self._requests, "requests" in before):
            found.add("requests")
        if self._too_large("memory" in before):
            found.add("memory")
        self.lag, self.worst_lag = lag, max(lag, self.worst_lag)
        self._reasons = frozenset(found)
        if found:
            if not before:
                self.times += 1
            self._shed(True)
        elif before:
            self._shed(False)

    def _too_large(self, already: bool) -> bool:
        """Return True if the process uses more memory than it may.

        Memory that can be given back to the system does not count. Otherwise the memory of clients that are gone would
        keep new clients out for ever. After a trim, anything up to the bound is accepted.
        """
        bound = self._config.memory_ceiling_bytes
        if not _beyond(bound, self._resident, already):
            return False
        return not self._trim.run() or _beyond(bound, self._resident, False)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK
        self._handle = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now, before = loop.time(), self._reasons
        if self._watchdog is not None:
            self._watchdog.beat()
        try:
            self.check(max(0.0, now - self._due))
        finally:
            self._arm()
        self._log(now, before)

    def _log(self, now: float, before: frozenset[str]) -> None:
        """Log at most one line per period and kind of overload, however often it comes and goes."""
        refused = self._without_descriptor()
        if refused > self._without_descriptor_logged and now - self._descriptors_logged_at >= _PERIOD:
            new = refused - self._without_descriptor_logged
            logger.error("out of file descriptors: %d new connections were refused; raise the limit (ulimit -n)", new)
            self._without_descriptor_logged, self._descriptors_logged_at = refused, now
        if self._reasons and now - self._logged_at >= _PERIOD:
            logger.warning("overloaded (%s): new work is refused", ", ".join(sorted(self._reasons)))
            self._logged_at = now
        if before and not self._reasons:
            logger.debug("no longer overloaded")


def _beyond(bound: int, measure: Callable[[], int], already: bool) -> bool:
    return bool(bound) and measure() > (bound * 0.9 if already else bound)


def _none() -> int:
    return 0


def resident_bytes() -> int:
    """Return the memory that the process holds, in bytes; where that is unknown, its maximum so far, else 0."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
