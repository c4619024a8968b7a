"""Where limits stand in the way of messages, and where nothing does."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from mycelia.observability.counters import Counter
from mycelia.scheduling.rate_limiter import RateLimiter
from mycelia.transports.seam import Control
from tests.unit.realtime.support import staged, turns, until

EVER = 3600.0


async def test_without_limits_a_message_goes_to_the_dispatch_itself() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        assert isinstance(connection.received, partial) and connection.received.func == stage.core.receiver.receive
        connection.session.rate_limiter = RateLimiter(1, EVER)
        assert connection.received.func != stage.core.receiver.receive
        connection.session.rate_limiter = None
        assert connection.received.func == stage.core.receiver.receive


async def test_a_limiter_of_many_forgets_who_is_gone() -> None:
    shared = RateLimiter(5, EVER)
    async with staged() as stage:
        connection, _ = stage.open()
        connection.session.rate_limiter = shared
        connection.received(b'{"path":"no://where"}', False)
        assert len(shared) == 1
        connection.closed(1000, "")
        assert len(shared) == 0


async def test_only_a_limiter_limits() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        with pytest.raises(TypeError, match="expected a RateLimiter or None, got int"):
            connection.session.rate_limiter = 5  # type: ignore[assignment]  # which is what is tested
        assert connection.session.rate_limiter is None


async def test_an_answer_that_the_server_waits_for_is_not_refused() -> None:
    async with staged(limits={"rate_per_connection": {"max_messages": 1, "window": EVER}}) as stage:
        connection, transport = stage.open()
        connection.received(b'{"success":true}', False)
        asked = stage.core.tasks.spawn(connection.session.request("client://confirm", None), name="asked")
        await until(lambda: transport.messages)
        key = transport.messages[0]["correlationId"]
        connection.received(json.dumps({"success": True, "data": 7, "correlationId": key}).encode(), False)
        assert await asked == 7
        connection.received(b'{"success":true,"correlationId":"nobody asked"}', False)
        assert stage.core.counters[Counter.UNMATCHED_RESPONSES] == 2
        assert len(transport.messages) == 1


async def test_a_message_that_another_limit_refuses_uses_nothing_up() -> None:
    limits = {
        "rate_per_connection": {"max_messages": 3, "window": EVER},
        "rate_per_address": {"max_messages": 2, "window": EVER},
    }
    async with staged(limits=limits) as stage:
        stage.app.register_route("app://echo", lambda message: message.body, expose=True)
        connection, transport = stage.open()
        for number in range(5):
            connection.received(b'{"path":"app://echo","correlationId":%d}' % number, False)
        await until(lambda: len(transport.messages) == 5)
        assert [each["success"] for each in transport.messages] == [True, True, False, False, False]
        assert stage.core.counters[Counter.RATE_PER_ADDRESS] == 3
        assert stage.core.counters[Counter.RATE_PER_CONNECTION] == 0


@pytest.mark.parametrize("kind", [Control.PING, Control.PONG, Control.EMPTY_FRAGMENT])
async def test_also_a_pending_connection_must_not_flood(kind: Control) -> None:
    async with staged(limits={"control_rate": {"max_messages": 2, "window": EVER}}) as stage:

        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            await stage.core.registry._left.wait()

        connection, transport = stage.open()
        await turns(2)
        connection.control(kind, b"")
        connection.control(kind, b"")
        assert not transport.closings
        connection.control(kind, b"")
        assert [code for code, _ in transport.closings] == [4429]


async def test_control_frames_without_a_limit() -> None:
    async with staged(limits={"control_rate": None}) as stage:
        connection, transport = stage.open()
        for _ in range(1000):
            connection.control(Control.PING, b"")
        assert not transport.closings and connection.is_open


async def test_refusals_without_a_limit_on_them() -> None:
    limits = {"rate_per_connection": {"max_messages": 1, "window": EVER}, "abuse": None}
    async with staged(limits=limits) as stage:
        connection, transport = stage.open()
        for _ in range(1000):
            connection.received(b'{"path":"app://echo"}', False)
        await until(lambda: len(transport.messages) == 1000)
        assert connection.is_open and stage.core.counters[Counter.RATE_PER_CONNECTION] == 999


async def test_what_is_no_message_of_this_codec_is_refused_too() -> None:
    async with staged(limits={"rate_per_connection": {"max_messages": 1, "window": EVER}}) as stage:
        connection, transport = stage.open()
        for payload, binary in (
            (b"{}", True),
            (b"{}", True),
            (b"\xff", False),
            (b'{"path":1,"correlationId":"c"}', False),
        ):
            connection.received(payload, binary)
        codes = [(each["error"]["code"], each["correlationId"]) for each in transport.messages]
        assert codes == [("UNSUPPORTED_DATA", None), *[("RATE_LIMITED", None)] * 2, ("RATE_LIMITED", "c")]


async def test_who_was_thrown_out_is_not_read() -> None:
    async with staged(limits={"control_rate": {"max_messages": 3, "window": EVER}}) as stage:
        connection, transport = stage.open()
        for _ in range(4):
            assert transport.reading == []
            connection.control(Control.PING, b"")
        assert [code for code, _ in transport.closings] == [4429]
        assert transport.reading == ["pause"]
