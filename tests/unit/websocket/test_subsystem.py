from __future__ import annotations

from typing import Any

import pytest

from mycelia import MessageSystem, RouteError
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
