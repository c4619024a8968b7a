"""What a websocket facet must offer, whoever makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["WebSocketContract"]


class WebSocketContract(Protocol):
    """The seed's facet methods."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def is_running(self) -> bool: ...

    def get_connection(self, connection_id: str) -> WebSocketConnection | None: ...

    def get_all_connections(self) -> list[WebSocketConnection]: ...

    def get_connection_count(self) -> int: ...

    async def send(self, connection_id: str, message: Any) -> Any: ...

    async def broadcast(self, message: Any, filter: Any = None) -> Any: ...

    def register_message_handler(self, path: str, handler: Callable[..., Any]) -> None: ...

    def register_connection_handler(self, event: Any, handler: Callable[..., Any]) -> None: ...
