from __future__ import annotations

from typing import Any

import pytest

from mycelia import HandlerError, MessageSystem, RouteError
from mycelia.testing import create_mock_websocket_client
from mycelia.websocket import WebSocketSubsystem


def handler(message: Any) -> Any:
    return message.body


def test_what_is_wrong_with_a_handler_is_said_before_the_build() -> None:
    sockets = WebSocketSubsystem("websocket", ms=MessageSystem("main"), config={"websocket": {"type": "memory"}})
    for wrong in ("app", "app:/x", "app://"):
        with pytest.raises(RouteError):
            sockets.register_message_handler(wrong, handler)
    with pytest.raises(RouteError, match="is for clients"):
        sockets.register_message_handler("app://y", handler, expose=False)
    assert sockets.registrations == []


async def test_what_a_handler_requires_holds_in_every_build() -> None:
    system = MessageSystem("main")
    sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "memory"}})
    sockets.register_message_handler("app://x", handler, requires=iter(["admin"]))
    for _ in range(2):
        async with system, create_mock_websocket_client(system) as client:
            await client.connect("memory://server/ws")
            with pytest.raises(HandlerError) as refused:
                await client.request("app://x")
            assert refused.value.code == "UNAUTHORIZED"
