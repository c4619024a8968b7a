"""The signals by which an operator ends the process: the first asks to end in order, the second to end now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["SIGNALS", "Signals"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """How many of the signals have come: the first asks to end in order, the second to end now.

    From the third on they do what they do without us, so whatever hangs can still be ended.
    """

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    @contextmanager
    def listening(self, signals: Iterable[signal.Signals] = SIGNALS) -> Iterator[Signals]:
        """Takes the signals over, in the main thread's running loop."""
        loop, taken = asyncio.get_running_loop(), list(signals)
        try:
            for sign in taken:
                loop.add_signal_handler(sign, self._came, taken)
            yield self
        finally:
            self._give_back(taken)

    def _came(self, taken: list[signal.Signals]) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        self._give_back(taken)

    def _give_back(self, taken: list[signal.Signals]) -> None:
        loop = asyncio.get_running_loop()
        while taken:
            loop.remove_signal_handler(taken.pop())
