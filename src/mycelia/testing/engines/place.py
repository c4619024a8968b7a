"""Where clients find an engine that listens nowhere by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mycelia.testing.wire import Wire
from mycelia.transports.seam import Engine

__all__ = ["Dial", "Place"]

Dial = Callable[[], Awaitable[Wire]]
"""Makes a connection whose handshake has not begun."""


class Place(Protocol):
    """Something that listens and calls an engine, such as an ASGI server; each check opens one of its own."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the engine can do there besides what it declares."""

    async def open(self, engine: Engine) -> Dial:
        """Begins to listen, and returns what connects to it; the engine is running."""

    async def close(self) -> None:
        """Ends what `open` began; the engine has been stopped."""
