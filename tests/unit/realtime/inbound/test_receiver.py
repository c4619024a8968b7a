"""Large messages: counted once, each piece of work in a turn of its own, and refused under their correlation id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mycelia.protocol.wire.json import JsonCodec
from mycelia.realtime.connection.pending_requests import PendingRequests
from tests.unit.realtime.support import staged, until

MOST = 32_768


def request(values: int) -> bytes:
    return json.dumps({"path": "app://size", "body": ["abc"] * values, "correlationId": "c"}).encode()


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("asked", [False, True])
async def test_too_many_values_are_refused_under_the_correlation_id(transformed: bool, asked: bool) -> None:
    """Also where the client was asked something, so that a large message may be the answer, and is read at once."""
    routing = {"transform_incoming": lambda value: value} if transformed else {}
    async with staged(limits={"message_values": MOST}, routing=routing) as stage:
        connection, transport = stage.open()
        if asked:
            connection.session.pending_requests = PendingRequests(1)
        connection.received(request(MOST), False)
        await until(lambda: transport.writes)
        [message] = transport.messages
        assert (message["error"]["code"], message["correlationId"]) == ("INVALID_MESSAGE", "c")
        assert message["error"]["details"] == {"limit": MOST}


@pytest.mark.parametrize("transformed", [False, True])
async def test_a_large_message_is_counted_once(transformed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0

    def counting(self: JsonCodec, payload: bytes, most: int) -> bool:
        nonlocal counted
        counted += 1
        return original(self, payload, most)

    original = JsonCodec.crowded
    monkeypatch.setattr(JsonCodec, "crowded", counting)
    routing: dict[str, Any] = {"transform_incoming": lambda value: value} if transformed else {}
    async with staged(routing=routing) as stage:
        stage.app.register_route("app://size", lambda message, params, options: len(message.body), expose=True)
        connection, transport = stage.open()
        connection.received(request(10_000), False)
        await until(lambda: transport.writes)
        assert transport.messages[0]["data"] == 10_000 and counted == 1
