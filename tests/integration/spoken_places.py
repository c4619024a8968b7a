"""What the engine suite needs to look at an engine whose clients speak a language of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mycelia.testing.engines.server import Connect
from mycelia.testing.wire import TcpWire, Wire
from mycelia.transports.seam import Engine
from tests.integration.asgi_places import HttpParser, Uvicorn, application

__all__ = ["SpokenPlace", "Through"]


class Through:
    """Stands before another; what it does not say itself is the other's."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


class SpokenPlace(Uvicorn):
    """uvicorn; `speak` makes of a client for bare WebSockets one that sends and shows the suite's messages."""

    def __init__(self, speak: Callable[[TcpWire], Wire], http: HttpParser = "h11") -> None:
        super().__init__("websockets-sansio", deflate=False, http=http)  # the raw client cannot inflate
        self._speak = speak

    async def open(self, engine: Engine) -> Connect:
        address = await self.serve(application(engine))

        async def dial() -> Wire:
            return self._speak(await TcpWire.to(address))

        return dial
