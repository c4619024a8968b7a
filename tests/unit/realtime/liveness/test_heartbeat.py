"""What is due at which look. How it plays out over time and over sockets is shown by tests/integration."""

from __future__ import annotations

import asyncio
from time import monotonic, time

import pytest

from mycelia.realtime.connection.connection import ConnectionState
from mycelia.realtime.inbound.worker import Worker
from mycelia.scheduling.timer_wheel import TICK
from mycelia.transports.seam import Control
from tests.unit.realtime.support import staged, until

LIMITS = {"pingInterval": 25_000, "pingTimeout": 5_000}


@pytest.mark.parametrize(
    ("since", "pings"), [(0.0, 0), (1.0, 0), (20.0, 0), (24.7, 0), (24.9, 1), (25.0, 1), (90.0, 1)]
)
async def test_a_ping_is_due_an_interval_after_the_last(since: float, pings: int) -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open()
        connection.pinged_at = monotonic() - since
        again = stage.core.heartbeat.due(connection, 0.0)
        assert transport.pings == pings
        if pings:
            assert again == 5.0, "the next look is at the answer"
        else:
            assert again == pytest.approx(25.0 - since, abs=0.2)


@pytest.mark.parametrize("answer", ["pong", "message"])
async def test_any_answer_is_one_and_the_next_ping_is_an_interval_later(answer: str) -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open()
        connection.pinged_at = monotonic() - 25
        assert stage.core.heartbeat.due(connection, 0.0) == 5.0
        if answer == "pong":
            connection.control(Control.PONG, b"")
        else:
            connection.active_at = time() + 1
        assert stage.core.heartbeat.due(connection, 0.0) == pytest.approx(25.0, abs=0.2)
        assert (transport.pings, connection.ping_sent, connection.is_open) == (1, None, True)


@pytest.mark.parametrize(
    ("ago", "paused", "closed"),
    [
        (0.0, False, False),
        (4.9, False, False),
        (5.1, False, False),
        (5.3, False, True),
        (60.0, False, True),
        (60.0, True, False),
    ],
)
async def test_who_does_not_answer_is_judged_after_the_timeout_unless_we_paused_it(
    ago: float, paused: bool, closed: bool
) -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open()
        connection.ping_sent = (monotonic() - ago, connection.active_at)
        if paused:
            connection.pause()
        again = stage.core.heartbeat.due(connection, 0.0)
        assert [code for code, _ in transport.closings] == ([4505] if closed else [])
        assert connection.is_open is not closed
        if closed:
            assert again == 0.0
        else:
            assert again == pytest.approx(TICK if paused or ago > 5 else 5.0 - ago, abs=0.2)


async def test_who_answers_is_pinged_every_interval_however_long_an_answer_may_take() -> None:
    async with staged(connection={"pingInterval": 5_000, "pingTimeout": 20_000}) as stage:
        connection, transport = stage.open()
        for number in range(1, 4):
            connection.pinged_at = monotonic() - 5
            assert stage.core.heartbeat.due(connection, 0.0) == 5.0
            assert transport.pings == number
            connection.control(Control.PONG, b"")
        connection.pinged_at = monotonic() - 5
        stage.core.heartbeat.due(connection, 0.0)
        assert stage.core.heartbeat.due(connection, 0.0) == pytest.approx(20.0, abs=0.2), "one ping at a time"
        assert transport.pings == 4


async def test_a_late_wheel_judges_nobody() -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open()
        connection.ping_sent = (monotonic() - 60, connection.active_at)
        stage.core.heartbeat.wheel.late = True
        assert stage.core.heartbeat.due(connection, 0.0) == TICK
        stage.core.heartbeat.wheel.late = False
        assert stage.core.heartbeat.due(connection, 0.0) == 0.0 and len(transport.closings) == 1


async def test_an_interval_of_zero_pings_nobody() -> None:
    async with staged(connection={"pingInterval": 0}) as stage:
        connection, transport = stage.open()
        connection.pinged_at = monotonic() - 1000
        assert stage.core.heartbeat.due(connection, 0.0) > 0
        assert transport.pings == 0


async def test_a_transport_that_cannot_ping_is_left_alone() -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open_plain()
        for _ in range(3):
            connection.pinged_at = monotonic() - 1000
            assert stage.core.heartbeat.due(connection, 0.0) == 25.0
        assert connection.is_open and not transport.sent


@pytest.mark.parametrize("phase", [ConnectionState.PENDING, ConnectionState.CLOSING, ConnectionState.CLOSED])
async def test_only_the_open_are_looked_after(phase: ConnectionState) -> None:
    async with staged(connection=LIMITS) as stage:
        connection, transport = stage.open()
        connection.pinged_at, connection.state = monotonic() - 1000, phase
        assert stage.core.heartbeat.due(connection, 0.0) == 0.0 and transport.pings == 0
        connection.state = ConnectionState.OPEN


async def test_begin_and_end_put_on_the_wheel_and_take_off() -> None:
    async with staged(connection=LIMITS) as stage:
        connections = [stage.open()[0] for _ in range(3)]
        wheel = stage.core.heartbeat.wheel
        assert len(wheel) == 3
        stage.core.heartbeat.begin(connections[0])
        assert len(wheel) == 3
        for connection in connections:
            connection.closed(1000, "")
        assert len(wheel) == 0


async def test_a_worker_that_has_been_idle_for_long_retires() -> None:
    async with staged(connection=LIMITS) as stage:
        stage.app.register_route("app://echo", lambda message: message.body, expose=True)
        connection, transport = stage.open()
        connection.received(b'{"path":"app://echo","body":1}', False)
        await until(lambda: transport.writes)
        worker = connection.worker
        assert isinstance(worker, Worker)
        await until(lambda: worker.is_idle)
        stage.core.heartbeat.due(connection, 0.0)
        assert not worker.is_retiring, "it has just worked"
        connection.active_at = time() - 60
        stage.core.heartbeat.due(connection, 0.0)
        await asyncio.wait(worker.tasks)
        assert connection.worker is None
        connection.received(b'{"path":"app://echo","body":2}', False)
        await until(lambda: len(transport.writes) == 2)
        assert [message["data"] for message in transport.messages] == [1, 2]
