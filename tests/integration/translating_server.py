"""A server for the engine suite whose clients translate the suite's messages into a protocol of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mycelia.testing.engines.server import Connect
from mycelia.testing.raw_client import RawClient, TcpRawClient
from mycelia.transports.seam import Engine
from tests.integration.asgi_servers import HttpParser, Uvicorn, application

__all__ = ["Delegate", "TranslatingServer"]


class Delegate:
    """Wraps an object and delegates all attributes that it does not define."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


class TranslatingServer(Uvicorn):
    """uvicorn, with raw clients that `translate` wraps, so that they send and return the suite's messages."""

    def __init__(self, translate: Callable[[TcpRawClient], RawClient], http: HttpParser = "h11") -> None:
        super().__init__("websockets-sansio", deflate=False, http=http)  # the raw client cannot inflate
        self._translate = translate

    async def open(self, engine: Engine) -> Connect:
        address = await self.serve(application(engine))

        async def connect() -> RawClient:
            return self._translate(await TcpRawClient.to(address))

        return connect
