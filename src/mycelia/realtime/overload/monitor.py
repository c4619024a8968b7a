"""Whether the process has more to do than it can: then new work is refused, and what was accepted goes on.

Four times a second it measures how late the loop is, how much memory the process holds and how many requests are
under way. That is all it costs while all is well: no message is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mycelia.config.sections import between, check_fields, seconds
from mycelia.observability.loop_watchdog import StallWatch
from mycelia.realtime.overload.memory_trim import Relief

__all__ = ["TICK", "OverloadConfig", "Pressure", "resident_bytes"]

logger = logging.getLogger("mycelia.websocket")

TICK = 0.25  # seconds between two looks
_PERIOD = 10.0  # seconds between two lines of the log about one trouble


@dataclass(frozen=True, slots=True)
class OverloadConfig:
    """From when on new work is refused (section `overload`); 0 switches a bound off."""

    max_lag: float = seconds(1.0)
    max_requests: int = 32_768
    memory_ceiling_bytes: int = 0
    spare_descriptors: int = 32
    stall_warning: float = seconds(0.5)

    def __post_init__(self) -> None:
        check_fields("overload", self)
        for name in ("max_requests", "memory_ceiling_bytes", "spare_descriptors"):
            between(f"overload.{name}", getattr(self, name), 0, 2**50)
        for name in ("max_lag", "stall_warning"):
            between(f"overload.{name}", getattr(self, name), 0, 3600.0, " seconds")


class Pressure:
    """Judges, and tells `shed` at every look whether new work is to be refused, from the first refusal on.

    A bound is left again below 90 % of it, and the lag below half, so that it does not flutter. One late look is a
    handler that blocked and has ended; two in a row are a loop that has too much to do.
    """

    def __init__(
        self,
        config: OverloadConfig,
        shed: Callable[[bool], None],
        requests: Callable[[], int],
        resident: Callable[[], int] | None = None,
        relief: Relief | None = None,
    ) -> None:
        self._config, self._shed = config, shed
        self._relief = Relief() if relief is None else relief
        self._requests, self._resident = requests, resident_bytes if resident is None else resident
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._watch = StallWatch(config.stall_warning, TICK) if config.stall_warning else None
        self._starved: Callable[[], int] = _none
        self._starved_told = 0
        self._told_at = self._starved_told_at = float("-inf")
        self._reasons: frozenset[str] = frozenset()
        self.lag = 0.0  # of the last look, in seconds
        self.worst_lag = 0.0
        self.times = 0  # how often refusing began

    @property
    def shedding(self) -> bool:
        """Whether new work is refused now."""
        return bool(self._reasons)

    def start(self, starved: Callable[[], int] | None = None) -> None:
        """Begins to look; `starved` counts the connections refused for want of descriptors."""
        if starved is not None:
            self._starved = starved
        self.lag = 0.0
        if self._watch is not None:
            self._watch.start()
        self._arm()

    def stop(self) -> None:
        """Ends looking; nothing is refused any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._watch is not None:
            self._watch.stop()
        if self._reasons:
            self._reasons = frozenset()
            self._shed(False)

    def snapshot(self) -> dict[str, Any]:
        """The gauges, for statistics."""
        return {
            "lag": self.lag,
            "worstLag": self.worst_lag,
            "shedding": sorted(self._reasons),
            "times": self.times,
            "stalls": 0 if self._watch is None else self._watch.stalls,
            "lastStall": None if self._watch is None else self._watch.last,
            "starved": self._starved(),
        }

    def judge(self, lag: float) -> None:
        """One look at everything, with a loop that is `lag` seconds late."""
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
        """Only what is in use counts: else the memory of clients that are gone would keep the next ones out for ever.

        What cannot be given back is there for the next ones, so from then on anything up to the bound will do.
        """
        bound = self._config.memory_ceiling_bytes
        if not _beyond(bound, self._resident, already):
            return False
        return not self._relief.give_back() or _beyond(bound, self._resident, False)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK
        self._handle = loop.call_at(self._due, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now, before = loop.time(), self._reasons
        if self._watch is not None:
            self._watch.beat()
        try:
            self.judge(max(0.0, now - self._due))
        finally:
            self._arm()
        self._tell(now, before)

    def _tell(self, now: float, before: frozenset[str]) -> None:
        """One line per period and trouble, however often it comes and goes."""
        starved = self._starved()
        if starved > self._starved_told and now - self._starved_told_at >= _PERIOD:
            logger.error("out of file descriptors: %d new connections refused", starved - self._starved_told)
            self._starved_told, self._starved_told_at = starved, now
        if self._reasons and now - self._told_at >= _PERIOD:
            logger.warning("overloaded (%s): new work is refused", ", ".join(sorted(self._reasons)))
            self._told_at = now
        if before and not self._reasons:
            logger.debug("no longer overloaded")


def _beyond(bound: int, measure: Callable[[], int], already: bool) -> bool:
    return bool(bound) and measure() > (bound * 0.9 if already else bound)


def _none() -> int:
    return 0


def resident_bytes() -> int:
    """What the process holds of memory now; where the system does not say, the most that it ever held; else 0."""
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
