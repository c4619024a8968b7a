"""What a server facet must offer, whoever makes it."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ServerContract"]


class ServerContract(Protocol):
    """The facet's methods, beside those of the websocket facet where both have them."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def is_running(self) -> bool: ...

    def is_accepting(self) -> bool: ...

    def get_address(self) -> tuple[str, int] | None: ...

    def get_port(self) -> int | None: ...

    def register_mycelia_route(self, method: str, path: str, target: str) -> Any: ...

    def unregister_mycelia_route(self, method: str, path: str) -> bool: ...
