"""The asgi engine against a server in memory."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.asgi.engine import AsgiEngine
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept, CanFrame, CanPause, CanPing, CanServe
from tests.unit.transports.asgi_server import Stand, Visit, running, websocket_scope

GONE = {"type": "websocket.close", "code": 1001, "reason": ""}


class AsgiStand(Stand[AsgiEngine]):
    """Its gate lets people in at `/ws`."""

    def visit(self, scope: dict[str, Any] | None = None, path: str | None = None) -> Visit:
        """A request that is being served."""
        return self.serve(websocket_scope() if scope is None else scope, path)

    async def open(self, scope: dict[str, Any] | None = None) -> tuple[Visit, RecordingPeer]:
        """An accepted connection."""
        visit, before = self.visit(scope), len(self.peers)
        await visit.until(lambda: visit.asked == 2)  # the first is for the handshake
        return visit, self.peers[before]

    def accept(self, peer: RecordingPeer, request: Handshake) -> Accept:
        return replace(super().accept(peer, request), headers=(("X-Engine", "checked"),))


def stand(**options: Any) -> AbstractAsyncContextManager[AsgiStand]:
    return running(AsgiStand(AsgiEngine()), **options)


# -- life ----------------------------------------------------------------------------------------------


async def test_it_starts_once_and_has_no_address() -> None:
    engine = AsgiEngine()
    with pytest.raises(EngineError, match="before start"):
        await engine.start(EngineOptions())
    with pytest.raises(EngineError, match="'admit'"):
        engine.on("other", lambda request: HttpReply(404))  # type: ignore[arg-type]
    engine.on("admit", lambda request: HttpReply(404))
    with pytest.raises(EngineError, match="'size' for the asgi engine; known: none"):
        await engine.start(EngineOptions(library={"size": 1}))
    await engine.start(EngineOptions())
    with pytest.raises(NotRunning):
        await engine.start(EngineOptions())
    assert engine.address() is None and isinstance(engine, CanServe)
    await engine.stop()
    await engine.stop()


async def test_who_comes_before_the_start_gets_503() -> None:
    made = AsgiStand(AsgiEngine())
    visit = made.visit()
    assert (await visit.told("websocket.http.response.start"))["status"] == 503
    plain = made.visit({**websocket_scope("/"), "type": "http", "method": "GET"})
    assert (await plain.told("http.response.start"))["status"] == 503
    await visit.ended()
    await plain.ended()


async def test_stop_ends_every_connection() -> None:
    async with stand() as made:
        visits = [await made.open() for _ in range(3)]
        await made.engine.stop()
        assert [peer.closings for _, peer in visits] == [[(1006, "")]] * 3
        for visit, _ in visits:
            await visit.ended()
            assert visit.sent[-1] == GONE  # without it some servers would keep the socket


async def test_a_server_that_cancels_is_obeyed() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        assert visit.task is not None
        visit.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit.ended()
        assert peer.closings == [(1006, "")]


async def test_an_abort_does_not_swallow_the_servers_cancellation() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        assert visit.task is not None
        peer.transport.abort()
        visit.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit.ended()
        assert peer.closings == [(1006, "")]


# -- handshakes ----------------------------------------------------------------------------------------


async def test_a_handshake_is_accepted_before_anything_is_said() -> None:
    async with stand() as made:
        visit, peer = await made.open(websocket_scope(subprotocols=["chat", "other"]))
        accepted = {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-engine", b"checked")]}
        assert visit.sent == [accepted]
        assert peer.was_opened and made.requests[0].target == "/ws"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (HttpReply(403, b"not you\n"), 403, b"not you\n"),
        (RuntimeError("secret of the gate"), 500, b"internal error\n"),
    ],
    ids=["refused", "broken"],
)
async def test_the_gate_decides(answer: Any, status: int, body: bytes) -> None:
    async with stand() as made:
        made.answer = answer
        visit = made.visit()
        await visit.ended()
        assert [visit.sent[0]["status"], visit.sent[1]["body"]] == [status, body]
        assert (made.peers, made.door.inside) == ([], 0)


async def test_what_cannot_be_read_never_reaches_the_gate() -> None:
    async with stand() as made:
        visit = made.visit(websocket_scope(query_string=b"\xff"))
        await visit.ended()
        assert (visit.sent[0]["status"], made.door.misreadings, made.requests) == (400, [400], [])


async def test_the_door_is_asked_and_told() -> None:
    async with stand() as made:
        visit, _ = await made.open()
        assert made.door.inside == 0  # the handshake is over
        made.door.shut = True
        refused = made.visit()
        await refused.ended()
        assert (refused.sent[0]["status"], len(made.requests), made.door.inside) == (503, 1, 0)
        visit.leave()


@pytest.mark.parametrize("broken", [OSError("gone"), RuntimeError("gone")], ids=["OSError", "RuntimeError"])
async def test_who_leaves_during_the_handshake_is_opened_and_closed(broken: Exception) -> None:
    async with stand() as made:
        visit = Visit(websocket_scope())
        visit.broken = broken
        visit.begin(made.engine.serve)
        await visit.ended()
        assert made.peers[0].closings == [(1006, "")]


async def test_an_answer_that_the_server_does_not_take_is_given_up_in_time() -> None:
    async with stand(handshake_timeout=0.01) as made:
        visit = Visit(websocket_scope())
        visit.taking.clear()
        visit.begin(made.engine.serve)
        await visit.ended()
        assert made.peers[0].closings == [(1006, "")]


async def test_a_handshake_that_is_cancelled_leaves_nobody_behind() -> None:
    async with stand() as made:
        visit = Visit(websocket_scope())
        visit.taking.clear()
        visit.begin(made.engine.serve)
        for _ in range(5):
            await asyncio.sleep(0)
        assert visit.task is not None
        visit.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit.ended()
        assert made.peers[0].closings == [(1006, "")]


async def test_a_client_that_is_gone_before_its_handshake_is_nobody() -> None:
    async with stand() as made:
        visit = Visit({**websocket_scope(), "type": "websocket"})
        visit.leave(1006)
        visit.begin(made.engine.serve)
        await visit.ended()
        assert (visit.sent, made.requests) == ([], [])


async def test_a_plain_request_gets_what_the_gate_says() -> None:
    async with stand() as made:
        made.answer = HttpReply(200, b"<h1>hello</h1>")
        visit = made.visit({**websocket_scope("/live/"), "type": "http", "method": "GET"}, "/")
        await visit.ended()
        assert (visit.sent[0]["status"], visit.sent[1]["body"]) == (200, b"<h1>hello</h1>")
        assert made.requests[0].target == "/"


# -- messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"text": "grüße"}, ("grüße".encode(), False)),
        ({"text": "a", "bytes": None}, (b"a", False)),
        ({"text": None, "bytes": b"\x00\xff"}, (b"\x00\xff", True)),
        ({"bytes": b""}, (b"", True)),
        ({"text": ""}, (b"", False)),
    ],
    ids=["text", "text-and-none", "none-and-bytes", "no-bytes", "no-text"],
)
async def test_messages_come_in(event: dict[str, Any], message: tuple[bytes, bool]) -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.say({"type": "websocket.receive", **event})
        await peer.until(lambda: peer.messages)
        assert peer.messages == [message]


async def test_messages_go_out_in_order_and_in_kind() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        for payload, binary in ((b"a", False), ("ü".encode(), False), (b"\xff", True), (b"", False), (b"", True)):
            peer.transport.send(payload, binary)
        await visit.until(lambda: len(visit.messages) == 5)
        assert visit.messages == ["a", "ü", b"\xff", "", b""]
        assert peer.transport.buffered == 0


async def test_a_message_over_the_limit_fails_the_connection() -> None:
    async with stand(max_message_bytes=4) as made:
        visit, peer = await made.open()
        for text in ("abcd", "üüü", "late"):
            visit.text(text)
        close = await visit.told("websocket.close")
        assert (close["code"], close["reason"]) == (1009, "message of 6 bytes, at most 4 allowed")
        assert await peer.closed_with() == (1006, "")
        assert (peer.messages, peer.failures) == ([(b"abcd", False)], [1009])


async def test_text_that_is_none_fails_the_connection() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.text("\ud800")
        assert (await visit.told("websocket.close"))["code"] == 1007
        await peer.closed_with()
        assert peer.failures == [1007]


async def test_a_peer_that_raises_costs_only_its_own_connection() -> None:
    def fail() -> None:
        raise RuntimeError("a fault of the peer")

    async with stand() as made:
        visit, peer = await made.open()
        other, _ = await made.open()
        peer.when_received = fail
        visit.text("x")
        assert (await visit.told("websocket.close"))["code"] == 1011
        assert await peer.closed_with() == (1006, "")
        assert other.task is not None and not other.task.done()


async def test_a_server_that_gives_everything_at_once_still_lets_others_run() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        for _ in range(100):
            visit.text("x" * 1000)
        await peer.until(lambda: peer.messages)
        assert len(peer.messages) < 100
        await peer.until(lambda: len(peer.messages) == 100)


async def test_a_paused_transport_asks_for_nothing() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        assert peer.pausing is not None
        peer.when_received = peer.pausing.pause
        for number in range(3):
            visit.text(str(number))
        await peer.until(lambda: peer.messages)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(peer.messages) == 1
        for number in range(2, 4):
            peer.pausing.resume()
            await peer.until(lambda number=number: len(peer.messages) == number)  # type: ignore[misc]


async def test_what_its_transports_can() -> None:
    async with stand() as made:
        scope = websocket_scope(user="ann")
        _, peer = await made.open(scope)
        transport = peer.transport
        assert isinstance(transport, CanPause)
        assert not isinstance(transport, CanFrame) and not isinstance(transport, CanPing)
        assert made.engine.framed is False and made.engine.capabilities == {"codes", "pages", "payload", "subprotocols"}
        assert transport.native is scope and scope["client"] == ("192.0.2.1", 5)
        assert isinstance(transport.deadline, float) and transport.compression is None


# -- congestion ----------------------------------------------------------------------------------------


async def congest(made: AsgiStand) -> tuple[Visit, RecordingPeer]:
    visit, peer = await made.open()
    visit.taking.clear()
    peer.transport.send(b"x" * 60, True)
    assert peer.congestion == []
    peer.transport.send(b"y" * 60, True)
    assert (peer.congestion, peer.transport.buffered) == ([True], 120)
    return visit, peer


async def test_it_tells_of_congestion_and_its_end() -> None:
    async with stand(high_water_bytes=100) as made:
        visit, peer = await congest(made)
        visit.taking.set()
        await peer.until(lambda: len(peer.congestion) == 2)
        assert (peer.congestion, peer.transport.buffered) == ([True, False], 0)
        peer.transport.send(b"again", False)
        await visit.until(lambda: "again" in visit.messages)


async def test_a_congested_connection_is_closed_at_once() -> None:
    async with stand(high_water_bytes=100) as made:
        visit, peer = await congest(made)
        peer.transport.close(4504, "too slow")
        assert await peer.closed_with() == (1006, "")
        assert (visit.messages, peer.transport.buffered) == ([], 0)
        await visit.ended()  # it has asked the server to close, in vain, for as long as a Close may take
        assert visit.sent[1:] == []


@pytest.mark.parametrize("broken", [OSError("gone"), RuntimeError("gone")], ids=["OSError", "RuntimeError"])
async def test_a_server_that_takes_no_more_ends_it(broken: Exception) -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.broken = broken
        peer.transport.send(b"a", False)
        assert await peer.closed_with() == (1006, "")
        assert peer.transport.buffered == 0
        await visit.ended()


# -- closing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [(1000, "bye", (1000, "bye")), (4000, "", (4000, "")), (None, "", (1005, "")), (1006, "", (1006, ""))],
    ids=["1000", "4000", "none", "1006"],
)
async def test_the_client_closes(code: int | None, reason: str, told: tuple[int, str]) -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.leave(code, reason)
        assert await peer.closed_with() == told
        assert (peer.leavings, peer.failures) == (code != 1006, [])
        peer.transport.send(b"late", False)
        peer.transport.close(1000, "")
        peer.transport.abort()
        await visit.ended()
        assert len(visit.sent) == 1


async def test_the_server_closes_behind_what_it_sent() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        peer.transport.send(b"last", False)
        peer.transport.close(4000, "x" * 200)
        peer.transport.close(4001, "second")
        peer.transport.send(b"late", False)
        visit.text("dropped")
        assert await peer.closed_with() == (4000, "")
        assert [each["type"] for each in visit.sent[1:]] == ["websocket.send", "websocket.close"]
        assert visit.sent[-1] == {"type": "websocket.close", "code": 4000, "reason": "x" * 123}
        assert (peer.messages, peer.leavings) == ([], 0)
        await visit.ended()


async def test_a_close_that_nobody_answers_ends_in_time() -> None:
    async with stand(close_timeout=0.01) as made:
        visit, peer = await made.open()
        visit.deaf = True
        peer.transport.close(1000, "")
        assert await peer.closed_with() == (1006, "")
        await visit.ended()
        assert len(visit.sent) == 2  # one Close


async def test_a_close_that_may_not_be_sent_changes_nothing() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        with pytest.raises(ValueError, match="1006"):
            peer.transport.close(1006, "")
        peer.transport.close(1005, "")  # a Close without a code, for which ASGI has no word
        assert (await visit.told("websocket.close"))["code"] == 1000
        await peer.closed_with()


async def test_a_paused_transport_closes() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        assert peer.pausing is not None
        peer.when_received = peer.pausing.pause
        visit.text("x")
        await peer.until(lambda: peer.messages)
        await asyncio.sleep(0)
        peer.transport.close(1001, "")
        assert await peer.closed_with() == (1001, "")


async def test_abort_from_within_a_callback() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        peer.when_received = lambda: peer.transport.abort()
        visit.text("x")
        visit.text("y")
        assert await peer.closed_with() == (1006, "")
        assert len(peer.messages) == 1
        await visit.ended()
        assert visit.sent[-1] == GONE


async def test_abort_is_not_the_end_yet() -> None:
    async with stand() as made:
        _, peer = await made.open()
        peer.transport.abort()
        peer.transport.abort()
        assert peer.closings == []
        assert await peer.closed_with() == (1006, "")


async def test_a_server_whose_receive_fails_has_lost_the_client() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.say(RuntimeError("closed"))
        assert await peer.closed_with() == (1006, "")
        await visit.ended()
        assert len(visit.sent) == 1


async def test_receive_that_swallows_a_cancellation_is_left_all_the_same() -> None:
    async with stand() as made:
        visit = Visit(websocket_scope())
        patient = visit.receive

        async def receive() -> Any:
            try:
                return await patient()
            except asyncio.CancelledError:
                return {"type": "websocket.receive", "text": "swallowed"}

        async def application(scope: Any, _: Any, send: Any) -> None:
            await made.engine.serve(scope, receive, send)
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0

        visit.begin(application)
        await visit.until(lambda: visit.asked == 2)
        await made.peers[0].until(lambda: made.peers[0].was_opened)
        made.peers[0].transport.abort()
        assert await made.peers[0].closed_with() == (1006, "")
        assert made.peers[0].messages == []
        await visit.ended()
