"""What goes out although no handler made it, and how whatever a handler made becomes a packet."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from mycelia.kernel.messages.message import valid_trace_id
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage
from mycelia.realtime.outbound.responder import Responder
from mycelia.serving.responses import outcome_response
from tests.support.names import shown
from tests.unit.realtime.support import Stage, staged, until


class Unknown:
    """What no codec can encode."""


def unpacked(stage: Stage, response: Response, done: Route | None = None) -> dict[str, Any]:
    """The packet of a response, decoded again."""
    connection, transport = stage.open()
    connection.write(responder_of(stage).pack(connection, response, done))
    [message] = transport.messages
    return dict(message)


def responder_of(stage: Stage) -> Responder:
    return stage.core.responder


def answer(data: Any, correlation_id: Any = "c") -> Response:
    return outcome_response(data, correlation_id, "t")


# -- packing -----------------------------------------------------------------------------------------------


async def test_what_a_handler_made_is_counted_when_it_is_packed() -> None:
    async with staged() as stage:
        route = stage.app.register_route("app://x", lambda: 1)
        message = unpacked(stage, answer({"a": 1}), route)
        assert (message["success"], message["data"], message["correlationId"]) == (True, {"a": 1}, "c")
        assert message["metadata"]["traceId"] == "t"
        assert (route.handled, route.failed) == (1, 0)
        assert unpacked(stage, answer(2))["data"] == 2
        assert (route.handled, route.failed) == (1, 0), "what no handler made is nobody's"


@pytest.mark.parametrize("data", [Unknown(), {"deep": [Unknown()]}, float("nan"), 2**70, "\ud800", {1: 2}], ids=shown)
async def test_what_cannot_be_encoded_is_an_apology_that_can(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        route = stage.app.register_route("app://x", lambda: 1)
        with caplog.at_level(logging.ERROR, "mycelia.websocket"):
            message = unpacked(stage, answer(data), route)
        assert (message["success"], message["correlationId"]) == (False, "c"), "it still answers its request"
        assert message["error"]["code"] == "HANDLER_ERROR" and message["error"]["retryable"] is False
        assert message["error"]["details"]["errorId"] in caplog.text, "under which the log says more"
        assert "Unknown" not in json.dumps(message)
        assert valid_trace_id(message["metadata"]["traceId"])
        assert (route.handled, route.failed) == (0, 1)


async def test_what_is_too_large_is_an_apology_as_well() -> None:
    async with staged(limits={"outbound_bytes": 1024}) as stage:
        assert unpacked(stage, answer("x" * 800))["success"] is True
        message = unpacked(stage, answer("x" * 1100))
        assert (message["error"]["code"], message["correlationId"]) == ("HANDLER_ERROR", "c")


@pytest.mark.parametrize("correlation_id", ["c", 7, 1.5, None])
async def test_the_apology_answers_the_request_whatever_its_correlation_id(correlation_id: Any) -> None:
    async with staged() as stage:
        message = unpacked(stage, answer(Unknown(), correlation_id))
        assert message["success"] is False and message["correlationId"] == correlation_id


@pytest.mark.parametrize("correlation_id", [Unknown(), "\ud800", 2**70, float("nan")], ids=shown)
async def test_a_correlation_id_that_cannot_be_encoded_is_left_out(correlation_id: Any) -> None:
    """A transform may have put anything there."""
    async with staged() as stage:
        message = unpacked(stage, answer(1, correlation_id))
        assert message["success"] is False and message["correlationId"] is None


async def test_every_response_has_a_trace_id_of_its_own() -> None:
    async with staged() as stage:
        made = [responder_of(stage).next_trace_id() for _ in range(1000)]
        assert len(set(made)) == 1000 and all(map(valid_trace_id, made))
    async with staged() as stage:
        assert responder_of(stage).next_trace_id() not in made, "nor is it another server's"


# -- sending -----------------------------------------------------------------------------------------------


async def test_without_a_transform_it_is_sent_at_once() -> None:
    async with staged() as stage:
        connection, transport = stage.open()
        for number in range(3):
            responder_of(stage).send(connection, answer(number))
        assert [each["data"] for each in transport.messages] == [0, 1, 2]
        connection.close(1000, "")
        responder_of(stage).send(connection, answer(3))
        assert len(transport.messages) == 3 and connection.dropped == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_a_transform_sees_it_like_any_other_response(waits: bool) -> None:
    def outgoing(response: Any) -> Any:
        return {"nr": response["correlationId"], "ok": response["success"]}

    async def later(response: Any) -> Any:
        await asyncio.sleep(0)
        return outgoing(response)

    async with staged(routing={"transform_outgoing": later if waits else outgoing}) as stage:
        connection, transport = stage.open()
        responder_of(stage).fail(connection, ProtocolFault(Code.INVALID_JSON, "expected JSON", None, "c"))
        await until(lambda: transport.writes)
        assert transport.messages == [{"nr": "c", "ok": False}]


async def test_a_transform_that_fails_is_answered() -> None:
    def outgoing(response: Any) -> Any:
        raise KeyError("secret")

    async with staged(routing={"transform_outgoing": outgoing}) as stage:
        connection, transport = stage.open()
        responder_of(stage).send(connection, answer(1))
        await until(lambda: transport.writes)
        [message] = transport.messages
        assert (message["error"]["code"], message["correlationId"]) == ("HANDLER_ERROR", "c")
        assert "secret" not in str(message)


async def test_a_client_that_left_while_its_answer_was_transformed() -> None:
    async def outgoing(response: Any) -> Any:
        connection.closed(1006, "")
        return response

    async with staged(routing={"transform_outgoing": outgoing}) as stage:
        connection, transport = stage.open()
        responder_of(stage).send(connection, answer(1))
        await until(lambda: connection.dropped)
        assert transport.writes == []


# -- what breaks the language, and what is too much ------------------------------------------------------------


async def test_what_breaks_the_wire_language_is_told_how() -> None:
    async with staged() as stage:
        connection, transport = stage.open()
        responder_of(stage).fail(connection, ProtocolFault(Code.INVALID_MESSAGE, "expected x", {"limit": 7}, 5))
        responder_of(stage).fail(connection, ProtocolFault(Code.INVALID_JSON, "expected JSON"))
        first, second = transport.messages
        assert first["error"] == {
            "code": "INVALID_MESSAGE", "message": "expected x", "details": {"limit": 7}, "retryable": False
        }  # fmt: skip
        assert (first["correlationId"], second.get("correlationId")) == (5, None)
        assert first["metadata"]["traceId"] != second["metadata"]["traceId"]
        assert connection.is_open and stage.core.counters[Counter.REFUSED] == 0


def refused(stage: Stage, connection: Link, *works: Any) -> None:
    for work in works:
        responder_of(stage).refuse(connection, work)


REQUEST = Request("app://x", None, "c")


@pytest.mark.parametrize(
    "work", [REQUEST, UntransformedMessage({"path": "app://x", "correlationId": "c"})], ids=["request", "raw"]
)
async def test_a_request_that_found_no_room_is_told_to_come_again(work: Any) -> None:
    async with staged() as stage:
        connection, transport = stage.open()
        refused(stage, connection, work)
        [message] = transport.messages
        assert (message["error"]["code"], message["error"]["retryable"]) == ("OVERLOADED", True)
        assert message["correlationId"] == "c" and stage.core.counters[Counter.REFUSED] == 1


SILENT = {"noReply": True}


@pytest.mark.parametrize(
    "work",
    [
        Request("app://x", None, "c", SILENT),
        Event("e"),
        UntransformedMessage({"path": "app://x", "metadata": SILENT}),
        UntransformedMessage({"event": "e"}),
        UntransformedMessage({"success": True, "correlationId": "c"}),
        None,
    ],
    ids=["no reply", "event", "raw no reply", "raw event", "raw response", "nothing"],
)
async def test_what_wants_no_answer_is_counted_only(work: Any) -> None:
    async with staged() as stage:
        connection, transport = stage.open()
        refused(stage, connection, work, work)
        assert transport.writes == [] and stage.core.counters[Counter.REFUSED] == 2


@pytest.mark.parametrize("value", [7, [], {"path": 7}, {"path": "app://x", "success": True}], ids=str)
async def test_what_is_no_message_at_all_is_told_so(value: Any) -> None:
    async with staged() as stage:
        connection, transport = stage.open()
        refused(stage, connection, UntransformedMessage(value))
        [message] = transport.messages
        assert message["error"]["code"] == "INVALID_MESSAGE" and stage.core.counters[Counter.REFUSED] == 1
