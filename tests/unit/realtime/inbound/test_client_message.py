from __future__ import annotations

from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.kernel.messages.message import Metadata
from mycelia.protocol.wire.envelope import Event, Request
from mycelia.realtime.inbound.client_message import ClientMessage, silent, timeout_of
from tests.unit.realtime.support import FakeTransport, room

CLAIMS: dict[str, Any] = {
    "traceId": "theirs",
    "timeoutMs": 5,
    "noReply": True,
    "idempotencyKey": "key",
    "principal": "admin",
    "caller": "system",
    "connection_id": "other",
    "headers": {"x": "y"},
}


async def test_who_asks_comes_from_the_connection_and_claims_stay_claims() -> None:
    async with room() as stage:
        connection, _ = stage.open()
        request = Request("app://x", {"a": 1}, ["c", 1], CLAIMS)
        before = time()
        message = ClientMessage("app://x", request.body, connection, request, "t-1")
        metadata = message.metadata
        assert (message.path, message.body, message.connection) == ("app://x", {"a": 1}, connection)
        assert (metadata.trace_id, metadata.correlation_id, metadata.connection_id) == ("t-1", ["c", 1], connection.id)
        assert metadata.caller is not None and (metadata.caller.kind, metadata.caller.name) == ("client", connection.id)
        assert metadata.principal is None and metadata.client is connection.client
        assert dict(metadata.untrusted) == {
            key: CLAIMS[key] for key in ("principal", "caller", "connection_id", "headers")
        }
        assert metadata["idempotency_key"] == "key" and "principal" not in metadata
        assert before <= metadata.timestamp <= time()
        assert message.metadata is metadata and message.id == message.id


@pytest.mark.parametrize("envelope", [None, Event("e", 1), Request("app://x")])
async def test_without_claims_there_are_none(envelope: Request | Event | None) -> None:
    async with room() as stage:
        connection, _ = stage.open()
        metadata = ClientMessage("app://x", None, connection, envelope, "t").metadata
        assert isinstance(metadata, Metadata)
        assert dict(metadata.untrusted) == dict(metadata.extra) == {} and metadata.correlation_id is None


async def test_the_principal_is_the_one_that_connect_wrote() -> None:
    async with room() as stage:
        connection = stage.admit()
        connection.metadata = {"userId": "u1", "permissions": ["read"]}
        connection.opened(FakeTransport())
        principal = ClientMessage("app://x", None, connection, None, "t").metadata.principal
        assert principal is not None and (principal.id, list(principal.permissions)) == ("u1", ["read"])


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, False),
        ({}, False),
        ({"noReply": True}, True),
        ({"noReply": False}, False),
        ({"noReply": 1}, False),
        ({"noReply": "true"}, False),
        ({"no_reply": True}, False),
    ],
)
def test_no_reply(metadata: dict[str, Any] | None, expected: bool) -> None:
    assert silent(metadata) is expected


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (1, 0.001),
        (1500, 1.5),
        (0.5, 0.0005),
        (86_400_000, 86_400.0),
        (86_400_001, None),
        (0, None),
        (-1, None),
        (True, None),
        ("5", None),
        (None, None),
        ([5], None),
        (float("inf"), None),
        (10**18, None),
    ],
)
def test_timeout_ms(given: Any, seconds: float | None) -> None:
    assert timeout_of({"timeoutMs": given}) == seconds
    assert timeout_of({}) is None


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_a_timeout_is_none_or_between_zero_and_a_day(value: Any) -> None:
    found = timeout_of({"timeoutMs": value})
    assert found is None or 0 < found <= 86_400
