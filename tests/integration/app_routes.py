"""The routes that the applications of several tests have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mycelia import BaseSubsystem, Message

__all__ = ["expose_routes"]


def expose_routes(app: BaseSubsystem, more: Mapping[str, Callable[..., Any]]) -> None:
    """Lets clients call `more`, and what any client can be tried with."""

    async def shout(body: Any) -> Any:
        assert app.ms is not None
        return await app.ms.send(Message("websocket://broadcast", {"event": "shout", "data": body}))

    async def confirm(connection: Any) -> Any:
        return await connection.request("client://confirm", {"sure": True}, timeout=5)

    async def close(connection: Any, code: int) -> None:
        connection.close(code, "as you wish")

    common: dict[str, Callable[..., Any]] = {
        "app://echo": lambda body: body,
        "app://shout": shout,
        "app://confirm": confirm,
        "app://close/{code}": close,
    }
    for path, handler in {**common, **more}.items():
        app.register_route(path, handler, expose=True)
