from __future__ import annotations

from time import time
from typing import Any

import pytest

from mycelia.kernel.messages.message import Metadata
from mycelia.protocol.wire.envelope import Event, Request
from mycelia.realtime.inbound.client_message import ClientMessage
from tests.unit.realtime.support import FakeTransport, staged

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
    async with staged() as stage:
        connection, _ = stage.open()
        request = Request("app://x", {"a": 1}, ["c", 1], CLAIMS)
        before = time()
        message = ClientMessage("app://x", request.body, connection.session, request, "t-1")
        metadata = message.metadata
        assert (message.path, message.body, message.connection) == ("app://x", {"a": 1}, connection.session)
        assert (metadata.trace_id, metadata.correlation_id, metadata.connection_id) == ("t-1", ["c", 1], connection.id)
        assert metadata.caller is not None and (metadata.caller.kind, metadata.caller.name) == ("client", connection.id)
        assert metadata.principal is None and metadata.client is connection.session.client
        assert dict(metadata.untrusted) == {
            key: CLAIMS[key] for key in ("principal", "caller", "connection_id", "headers")
        }
        assert metadata["idempotency_key"] == "key" and "principal" not in metadata
        assert before <= metadata.timestamp <= time()
        assert message.metadata is metadata and message.id == message.id


@pytest.mark.parametrize("envelope", [None, Event("e", 1), Request("app://x")])
async def test_without_claims_there_are_none(envelope: Request | Event | None) -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        metadata = ClientMessage("app://x", None, connection.session, envelope, "t").metadata
        assert isinstance(metadata, Metadata)
        assert dict(metadata.untrusted) == dict(metadata.extra) == {} and metadata.correlation_id is None


async def test_the_principal_is_the_one_that_connect_wrote() -> None:
    async with staged() as stage:
        connection = stage.admit()
        connection.session.metadata = {"userId": "u1", "permissions": ["read"]}
        connection.opened(FakeTransport())
        principal = ClientMessage("app://x", None, connection.session, None, "t").metadata.principal
        assert principal is not None and (principal.id, list(principal.permissions)) == ("u1", ["read"])
