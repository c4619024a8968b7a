"""A logger for WebSocket libraries that log what peers send."""

from __future__ import annotations

import logging

__all__ = ["SilentLogger"]


class SilentLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that is never enabled, because the data of peers must not reach a log."""

    def isEnabledFor(self, level: int) -> bool:
        return False
