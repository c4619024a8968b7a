"""What the Engine.IO handshake tells clients."""

from __future__ import annotations

import pytest
from msgspec import json

from mycelia.protocol.engineio.settings import Settings


@pytest.mark.parametrize(
    ("interval", "said"), [(25.0, 25000), (0.3, 300), (0.001, 1), (1.1, 1100), (0.0005, 0.5), (0.29, 290)]
)
def test_intervals_are_announced_truly(interval: float, said: float) -> None:
    value = json.decode(Settings(ping_interval=interval, ping_timeout=interval).handshake("a", True))
    assert value == {
        "sid": "a",
        "upgrades": ["websocket"],
        "pingInterval": said,
        "pingTimeout": said,
        "maxPayload": 1_000_000,
    }


def test_upgrades_are_offered_where_there_are_any() -> None:
    assert json.decode(Settings().handshake("a", False))["upgrades"] == []
    assert json.decode(Settings(upgrades=False).handshake("a", True))["upgrades"] == []
