"""The server below an engine that does not listen itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mycelia.testing.raw_client import RawClient
from mycelia.transports.seam import Engine

__all__ = ["Connect", "EngineServer"]

Connect = Callable[[], Awaitable[RawClient]]
"""Opens a connection whose handshake has not begun."""


class EngineServer(Protocol):
    """A server that listens and calls an engine, such as an ASGI server. Each check opens one of its own."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that the engine has under this server besides those that it declares."""

    async def open(self, engine: Engine) -> Connect:
        """Start to listen. The engine is running.

        Args:
            engine: The engine to call.

        Returns:
            A function that connects a client.
        """

    async def close(self) -> None:
        """Stop the server. The engine has been stopped before."""
