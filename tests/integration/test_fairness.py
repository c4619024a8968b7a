"""One client that floods does not keep the others waiting: bounded work per connection and turn of the loop."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.realtime.connection.link import Link
from tests.integration.harness import App, Client, each_engine, until, within
from tests.support.links import link_of

READ_BYTES = 8 * 1024  # what one turn of the loop may bring one connection
SLICE = 0.002  # seconds of handlers before others get their turn


def app_of(engine: str, **config: Any) -> App:
    """An application without the limits that would end a flood before it is one."""
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    limits = {"control_rate": None, "abuse": None}
    connection = {"close_timeout": 0.3}
    return App({"websocket": endpoint, "connection": connection, "limits": limits, **config})


@asynccontextmanager
async def every_turn(look: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `look` in every turn of the loop."""
    loop, ended = asyncio.get_running_loop(), False

    def turn() -> None:
        if not ended:
            look()
            loop.call_soon(turn)

    loop.call_soon(turn)
    try:
        yield
    finally:
        ended = True


def pour(client: Client, data: bytes) -> int:
    """Puts as much into the socket's buffers as they take, at once; returns how much that is."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    sent = 0
    try:
        while sent < len(data):
            sent += client.sock.send(data[sent : sent + 65536])
    except BlockingIOError:
        pass
    return sent


# What a flooder sends, and how many such messages fit into one read.
FLOODS = {
    "not JSON": (Opcode.TEXT, b"x"),
    "events": (Opcode.TEXT, b'{"event":"e"}'),
    "requests": (Opcode.TEXT, b'{"path":"app://plain"}'),
    "pings": (Opcode.PING, b""),
    "empty fragments": (Opcode.CONTINUATION, b""),
}


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize("after_a_large_one", [False, True], ids=["", "after a large one"])
@pytest.mark.parametrize("kind", FLOODS)
async def test_one_turn_brings_one_connection_one_read(engine: str, kind: str, after_a_large_one: bool) -> None:
    app = app_of(engine)
    app.routes.register_route("app://plain", lambda: None, expose=True)
    opcode, payload = FLOODS[kind]
    frame = mask_frame(opcode, payload, b"abcd", opcode != Opcode.CONTINUATION, 0)
    flood = frame * (15 * READ_BYTES // len(frame))
    if kind == "empty fragments":
        flood = mask_frame(Opcode.TEXT, b"[", b"abcd", False, 0) + flood
    if after_a_large_one:
        flood = mask_frame(Opcode.TEXT, b'"' + b"y" * 300_000 + b'"', b"abcd", True, 0) + flood
    seen, before, most = 0, 0, 0

    def look() -> None:
        nonlocal before, most
        most, before = max(most, seen - before), seen

    async with app.system, app.client() as flooder:
        link = link_of(app.only())
        received, control = link.received, Link.control

        def count(payload: bytes, binary: bool) -> None:
            nonlocal seen
            seen += 1
            received(payload, binary)

        def count_control(self: Any, *given: Any) -> None:
            nonlocal seen
            seen += 1
            control(self, *given)

        link.received = count
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Link, "control", count_control)
            async with every_turn(look):
                poured = pour(flooder, flood)
                reading = asyncio.create_task(flooder.rest())
                await until(lambda: seen > 3 * READ_BYTES // len(frame) or link.transport is None)
                flooder.leave()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await until(lambda: app.facet.get_connection_count() == 0)
    assert poured > 4 * READ_BYTES, "the flood was too small to show anything"
    assert most <= READ_BYTES // len(frame) + 2, f"expected one read of messages per turn, got {most}"


@each_engine
async def test_handlers_that_compute_give_way_after_a_slice(engine: str) -> None:
    app = app_of(engine)
    handled: list[str] = []
    runs: list[int] = []
    before = 0

    @app.routes.route("app://compute", expose=True)
    def compute(message: Any, params: Any, options: Any) -> None:
        until_then = time.perf_counter() + 1.5 * SLICE
        while time.perf_counter() < until_then:
            pass
        handled.append(options.connection_id)

    def look() -> None:
        nonlocal before
        runs.append(len(handled) - before)
        before = len(handled)

    async with app.system, app.client() as flooder, every_turn(look):
        for number in range(40):
            await flooder.json({"path": "app://compute", "correlationId": number})
        for number in range(40):
            assert (await flooder.receive())["correlationId"] == number
    assert len(handled) == 40
    assert max(runs) <= 2, "after a slice of 2 ms the others get their turn"


@each_engine
@pytest.mark.parametrize("flood", ["cheap", "compute", "wait"])
async def test_others_are_served_between_the_slices_of_a_flood(engine: str, flood: str) -> None:
    app = app_of(engine)
    order: list[str] = []
    release = asyncio.Event()

    @app.routes.route("app://cheap", expose=True)
    def cheap(message: Any, params: Any, options: Any) -> None:
        order.append("flood")

    @app.routes.route("app://compute", expose=True)
    def compute(message: Any, params: Any, options: Any) -> None:
        until_then = time.perf_counter() + SLICE
        while time.perf_counter() < until_then:
            pass
        order.append("flood")

    @app.routes.route("app://wait", expose=True)
    async def wait(message: Any, params: Any, options: Any) -> None:
        await release.wait()
        order.append("flood")

    @app.routes.route("app://honest", expose=True)
    async def honest(message: Any, params: Any, options: Any) -> None:
        order.append("honest")

    frame = mask_frame(Opcode.TEXT, f'{{"path":"app://{flood}"}}'.encode(), b"abcd", True, 0)
    async with app.system, app.client() as flooder, app.client() as other:
        pour(flooder, frame * 20_000)
        reading = asyncio.create_task(flooder.rest())
        for _ in range(20):
            await within(other.request("app://honest"))
        release.set()
        flooder.leave()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: app.facet.get_connection_count() == 1)
    places = [at for at, who in enumerate(order) if who == "honest"]
    assert len(places) == 20
    between = [later - earlier for earlier, later in itertools.pairwise(places)]
    bound = {"cheap": 8 * (READ_BYTES // len(frame)), "compute": 16, "wait": 0}[flood]
    assert max(between) - 1 <= bound, f"expected at most {bound} of the flood's between two of another's, got {between}"


@each_engine
async def test_a_handler_that_waits_blocks_only_its_own_connection(engine: str) -> None:
    app = app_of(engine)
    release = asyncio.Event()

    @app.routes.route("app://wait", expose=True)
    async def wait() -> None:
        await release.wait()

    @app.routes.route("app://plain", expose=True)
    async def plain() -> str:
        return "at once"

    async with app.system, app.client() as stuck, app.client() as other:
        await stuck.json({"path": "app://wait", "correlationId": 1})
        await stuck.json({"path": "app://plain", "correlationId": 2})
        for _ in range(50):
            assert (await other.request("app://plain"))["data"] == "at once"
        release.set()
        assert [(await stuck.receive())["correlationId"] for _ in range(2)] == [1, 2]
