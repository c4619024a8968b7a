"""Clients of the socketio engine that mean no good, behind an ASGI server in memory."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from mycelia import MessageSystem
from mycelia.protocol.engineio.actions import Ended
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.http.request import Handshake, Headers, HttpReply
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.socketio.session_transport import SessionTransport
from mycelia.websocket import WebSocketSubsystem
from tests.unit.transports.asgi_server import Visit, websocket_scope
from tests.unit.transports.socketio.test_engine import PATH, stand


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_websocket_that_joins_a_paused_session_is_not_read_either() -> None:
    """What comes while a connection is paused is held; only what is not read is bounded."""
    async with stand() as made:
        session, peer = await made.polled()
        assert peer.pausing is not None
        assert (await made.ask(session))[0] == 200
        peer.pausing.pause()
        socket = await made.open(session.replace("polling", "websocket"))
        socket.text("2probe")
        await socket.until(lambda: socket.messages == ["3probe"])
        socket.text("5")
        for _ in range(50):
            socket.text('42["app://a"]')
        await turns(100)
        assert (socket.asked, peer.messages) == (2, [])
        peer.pausing.resume()
        await peer.until(lambda: len(peer.messages) == 50)
        socket.leave(1001)
        await socket.ended()


async def test_nothing_is_heard_behind_what_is_no_packet() -> None:
    async with stand() as made:
        session, peer = await made.polled()
        await made.ask(session)
        await made.ask(session, "POST", b'4x\x1e42["app://a"]\x1e4x\x1e40/other,')
        assert (peer.messages, peer.failures) == ([], [1002])
        await made.ask(session)


async def test_asking_again_and_again_gives_nobody_more_time() -> None:
    async with stand(handshake_timeout=0.2) as made:
        visit = await made.open()
        clock, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        made.answer = HttpReply(403, b"not you\n")
        while not any(each["type"] == "websocket.close" for each in visit.sent):
            visit.text("40")
            await turns(5)
            assert clock.time() < began + 5.0
        await visit.ended()


async def test_who_reads_no_refusals_gets_no_more_of_them() -> None:
    async with stand() as made:
        made.answer = HttpReply(403, b"no" * 8192)
        visit = await made.open()
        await visit.until(lambda: visit.messages)
        visit.taking.clear()
        asked = 200
        for _ in range(asked):
            visit.text("40")
        await turns(2000)
        assert len(made.requests) < asked
        visit.taking.set()
        visit.leave()
        await visit.ended()


async def test_a_body_is_not_waited_for_when_the_session_is_over() -> None:
    async with stand(handshake_timeout=0.05) as made:
        session = await made.poll()
        trickling = made.request(session, "POST")
        trickling.say({"type": "http.request", "body": b"4", "more_body": True})
        assert (await trickling.answer())[0] == 400


class Nobody:
    """A handler that wants nothing."""

    def received(self, payload: bytes, binary: bool) -> None: ...

    def heartbeat(self) -> None: ...

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None: ...


async def test_a_timer_that_is_due_at_once() -> None:
    """uvloop makes a handle of it that does not say when it rings."""
    loop = asyncio.get_running_loop()
    session = Session("s", Settings(ping_interval=0.0, close_timeout=0.0), loop.time())
    ended: list[Session] = []
    transport = SessionTransport(
        session,
        Handshake("GET", "/", Headers([])),
        None,
        EngineOptions(),
        ReceiveBudget(0, 0),
        lambda transport: Nobody(),
        ended.append,
    )
    transport.perform(session.open_polling(loop.create_future()))
    transport.close(1000, "")
    assert not session.over
    await turns()
    assert session.over and ended == [session]


def strict() -> tuple[MessageSystem, WebSocketSubsystem]:
    """A whole subsystem that bears five refusals."""
    system, rate = MessageSystem("main"), {"maxMessages": 5, "windowMs": 60_000}
    config = {"websocket": [{"type": "socketio", "path": PATH}], "limits": {"abuse": rate}}
    return system, WebSocketSubsystem("websocket", ms=system, config=config)


@pytest.mark.parametrize("joined", [False, True])
async def test_who_asks_for_namespaces_that_there_are_not_again_and_again_loses_the_session(joined: bool) -> None:
    system, sockets = strict()
    async with system:
        visit = Visit(websocket_scope(PATH, query_string=b"EIO=4&transport=websocket"))
        visit.begin(sockets.asgi)
        if joined:
            visit.text("40")
            await visit.until(lambda: visit.messages[-1:] and visit.messages[-1].startswith("40{"))
        for number in range(20):
            visit.text(f"40/{number},")
        await visit.ended()
        refused = [each for each in visit.messages if each.startswith("44/")]
        crossed = sockets.websocket.snapshot()["limits"]
        assert (len(refused), crossed["handshake"], crossed["abuse"]) == (6, 6, 1)


async def test_who_is_refused_by_connect_again_and_again_loses_the_session() -> None:
    system, sockets = strict()
    sockets.register_connection_handler("connect", lambda message: False)
    async with system:
        visit = Visit(websocket_scope(PATH, query_string=b"EIO=4&transport=websocket"))
        visit.begin(sockets.asgi)
        for answered in range(1, 7):
            visit.text("40")
            await visit.until(partial(lambda enough: len(visit.messages) > enough, answered))
        await visit.ended()
        assert sockets.websocket.snapshot()["limits"]["abuse"] == 1
