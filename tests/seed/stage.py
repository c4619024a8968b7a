"""A running application and its clients, for the tests of the founding design."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mycelia import BaseSubsystem, MessageSystem
from mycelia.testing import MockWebSocketClient, create_mock_websocket_client
from mycelia.websocket import WebSocketConnection, WebSocketFacet, WebSocketSubsystem

__all__ = ["PATIENCE", "Stage", "each_engine", "serving"]

PATIENCE = 8.0  # seconds after which an event that did not come counts as absent

each_engine = pytest.mark.parametrize("engine", ["picows", "websockets"])


class Stage:
    """A message system with a subsystem `app` and a WebSocketSubsystem, and a log of what handlers saw."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.seen: list[tuple[str, Any]] = []
        self._news = asyncio.Event()

    @property
    def facet(self) -> WebSocketFacet:
        return self.sockets.websocket

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.facet.get_port()}/ws"

    def only(self) -> WebSocketConnection:
        """The one open connection."""
        [connection] = self.facet.get_all_connections()
        return connection

    @asynccontextmanager
    async def client(self, query: str = "", **settings: Any) -> AsyncIterator[MockWebSocketClient]:
        """A connected client over a real socket."""
        async with create_mock_websocket_client() as client:
            await client.connect(self.url + query, **settings)
            yield client

    def note(self, what: str, value: Any = None) -> None:
        """Adds to what was seen."""
        self.seen.append((what, value))
        self._news.set()

    async def sees(self, what: str, count: int = 1) -> list[Any]:
        """The values of the first `count` notes of that name, once they are there."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [value for name, value in self.seen if name == what]) < count:
                self._news.clear()
                await self._news.wait()
        return found

    def record(self, *events: str) -> None:
        """Notes the bodies of `connect`, `disconnect` and `error`."""
        for event in events:
            self.sockets.register_route(f"websocket://{event}", self._recorder(event))

    def _recorder(self, event: str) -> Callable[..., Any]:
        async def handler(message: Any, params: Any, options: Any) -> None:
            self.note(event, message.body)

        return handler


@asynccontextmanager
async def serving(
    setup: Callable[[Stage], object] | None = None,
    *,
    engine: str = "picows",
    connection: Mapping[str, Any] | None = None,
    routing: Mapping[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[Stage]:
    """An application that listens; `setup` registers what it needs before that. `app://echo` is exposed."""
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0, **server}
    stage = Stage({"websocket": endpoint, "connection": connection or {}, "routing": routing or {}})

    @stage.app.route("app://echo", expose=True)
    async def echo(message: Any, params: Any, options: Any) -> dict[str, Any]:
        return {"success": True, "data": message.body}

    if setup is not None:
        setup(stage)
    async with stage.system:
        yield stage
