from __future__ import annotations

import json
from functools import partial

from mycelia.observability.counters import Counter
from mycelia.realtime.connection.work import Inbound
from tests.unit.realtime.support import staged, until

ECHO = json.dumps({"path": "app://echo", "body": 1, "correlationId": 7}).encode()


async def test_it_switches_open_connections_and_back() -> None:
    async with staged() as made:
        made.app.register_route("app://echo", lambda body: body, expose=True)
        connection, transport = made.open()
        before = connection.received
        made.core.shedding.switch(True)
        made.core.shedding.switch(True)
        connection.received(ECHO, False)
        [answer] = transport.messages
        assert (answer["error"]["code"], answer["correlationId"]) == ("OVERLOADED", 7)
        made.core.shedding.switch(False)
        assert connection.inbound is Inbound.ACCEPTING
        assert isinstance(connection.received, partial) and isinstance(before, partial)
        assert (connection.received.func, connection.received.args) == (before.func, before.args)
        connection.received(ECHO, False)
        await until(lambda: len(transport.messages) == 2)
        assert transport.messages[1]["data"] == 1


async def test_a_link_that_is_drained_is_not_switched_back() -> None:
    async with staged() as made:
        connection, transport = made.open()
        made.core.shedding.switch(True)
        connection.refuse_requests()
        made.core.shedding.switch(False)
        connection.received(ECHO, False)
        assert transport.messages[0]["error"]["code"] == "OVERLOADED"


async def test_wrong_messages_are_answered_as_ever_and_events_are_counted() -> None:
    async with staged() as made:
        connection, transport = made.open()
        made.core.shedding.switch(True)
        connection.received(b"\x80", True)
        connection.received(b"not json", False)
        connection.received(b'{"event": "e"}', False)
        assert [each["error"]["code"] for each in transport.messages] == ["UNSUPPORTED_DATA", "INVALID_JSON"]
        assert made.core.counters[Counter.REFUSED] >= 1


async def test_closing_and_pending_connections_are_left_alone() -> None:
    async with staged() as made:
        pending = made.admit()
        held = pending.received
        pending.shed(True)
        made.core.shedding.switch(True)
        assert pending.received == held
        connection, _ = made.open()
        connection.close(1000, "")
        held = connection.received
        connection.refuse_requests()
        connection.shed(True)
        assert connection.received == held
