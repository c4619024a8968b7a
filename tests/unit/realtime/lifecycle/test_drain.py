from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from mycelia.errors import ConfigError
from mycelia.realtime.config.sections import DrainConfig
from mycelia.realtime.connection.work import Inbound
from mycelia.realtime.lifecycle.drain import Drain
from tests.unit.realtime.support import FakeTransport, Stage, staged, until


def drain_of(made: Stage, window: float, chance: Callable[[], float] = random.random) -> Drain:
    return Drain(made.core.registry, made.core.responder.is_sending, window, chance)


TEXT = '{"path": "app://slow", "correlationId": 1}'


async def test_moments_are_told_to_those_who_asked_and_kept() -> None:
    async with staged() as made:
        plain, plain_transport = made.open()
        spoken, transport = made.open(("Sec-WebSocket-Protocol", "mycelia.v1.json"))
        chances = iter([0.0, 1.0])
        drain = asyncio.create_task(drain_of(made, 0.2, chances.__next__).run(5.0))
        await until(lambda: plain_transport.closings)
        assert transport.messages[-1] == {"event": "websocket.reconnect", "data": {"afterMs": 200}}
        assert not plain_transport.messages and spoken.is_open
        await until(lambda: transport.closings)
        assert [each.closings[0][0] for each in (plain_transport, transport)] == [1012, 1012]
        for connection in (plain, spoken):
            connection.closed(1012, "")
        await drain


@pytest.mark.parametrize("busy", ["running", "corked", "buffered"])
async def test_nobody_is_closed_before_the_answers_are_out(busy: str) -> None:
    release = asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> None:
        await release.wait()

    async with staged() as made:
        made.app.register_route("app://slow", slow, expose=True)
        connection, transport = made.open()
        if busy == "buffered":
            transport.buffered = 5
        elif busy == "corked":
            connection.congested(True)
        else:
            connection.received(TEXT.encode(), False)
        drain = asyncio.create_task(drain_of(made, 0.0).run(20.0))
        await until(lambda: connection.inbound is Inbound.REFUSING)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not transport.closings
        release.set()
        transport.buffered = 0
        connection.congested(False)
        await until(lambda: transport.closings)
        connection.closed(1012, "")
        await drain


async def test_who_does_not_go_is_cut_off() -> None:
    async with staged() as made:
        connection, transport = made.open()
        await drain_of(made, 0.0).run(0.1)
        assert transport.closings and transport.aborted == 1
        connection.closed(1006, "")


async def test_a_pending_client_is_closed_at_its_moment() -> None:
    async with staged() as made:
        waiting = asyncio.Event()

        async def connect(message: Any, params: Any, options: Any) -> None:
            await waiting.wait()

        made.sockets.register_route("websocket://connect", connect)
        connection, transport = made.admit(), FakeTransport()
        connection.opened(transport)
        drain = asyncio.create_task(drain_of(made, 0.0).run(5.0))
        await until(lambda: transport.closings)
        assert transport.closings[0][0] == 1012
        connection.closed(1012, "")
        await drain


def test_the_window_has_bounds() -> None:
    with pytest.raises(ConfigError, match=r"drain\.window"):
        DrainConfig(window=-1)
