from __future__ import annotations

import json

from tests.unit.realtime.support import room, until

ECHO = json.dumps({"path": "app://echo", "body": 1, "correlationId": 7}).encode()


async def test_it_switches_open_connections_and_back() -> None:
    async with room() as made:
        made.app.register_route("app://echo", lambda body: body, expose=True)
        connection, transport = made.open()
        before = connection.received
        made.runtime.shedding.everybody(True)
        made.runtime.shedding.everybody(True)
        connection.received(ECHO, False)
        [answer] = transport.messages
        assert (answer["error"]["code"], answer["correlationId"]) == ("OVERLOADED", 7)
        made.runtime.shedding.everybody(False)
        assert connection.received is before
        connection.received(ECHO, False)
        await until(lambda: len(transport.messages) == 2)
        assert transport.messages[1]["data"] == 1


async def test_who_is_on_its_way_out_is_not_switched_back() -> None:
    async with room() as made:
        connection, transport = made.open()
        made.runtime.shedding.everybody(True)
        made.runtime.shedding.begin(connection, final=True)
        made.runtime.shedding.everybody(False)
        connection.received(ECHO, False)
        assert transport.messages[0]["error"]["code"] == "OVERLOADED"


async def test_wrong_messages_are_answered_as_ever_and_events_are_counted() -> None:
    async with room() as made:
        connection, transport = made.open()
        made.runtime.shedding.everybody(True)
        connection.received(b"\x80", True)
        connection.received(b"not json", False)
        connection.received(b'{"event": "e"}', False)
        assert [each["error"]["code"] for each in transport.messages] == ["UNSUPPORTED_DATA", "INVALID_JSON"]
        assert made.runtime.dispatch.responder.refused >= 1


async def test_closing_and_pending_connections_are_left_alone() -> None:
    async with room() as made:
        pending = made.admit()
        held = pending.received
        made.runtime.shedding.begin(pending)
        assert pending.received == held
        connection, _ = made.open()
        connection.close()
        held = connection.received
        made.runtime.shedding.begin(connection, final=True)
        assert connection.received == held
