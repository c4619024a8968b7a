"""The asgi engine against servers and clients that do what they should not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.protocol.http.request import HttpReply
from tests.unit.transports.asgi.test_engine import stand
from tests.unit.transports.asgi_server import HEADERS, Visit, websocket_scope

BROKEN = [OSError("gone"), RuntimeError("gone")]
HOSTLESS = [line for line in HEADERS if line[0] != b"host"]


# -- heads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([*HEADERS, (b"host", b"evil")], 400),
        (HOSTLESS, 400),
        ([*HOSTLESS, (b"host", b"")], 400),
        ([*HEADERS, *((b"x-%d" % number, b"1") for number in range(130))], 431),
        ([*HEADERS, (b"x-long", b"x" * 20_000)], 431),
    ],
    ids=["two-hosts", "no-host", "an-empty-host", "too-many", "too-long"],
)
async def test_heads_that_servers_let_pass_are_refused_as_elsewhere(headers: Any, status: int) -> None:
    async with stand() as made:
        visit = made.visit(websocket_scope(headers=headers))
        await visit.ended()
        assert (visit.sent[0]["status"], made.requests) == (status, [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BREW"])
async def test_pages_are_for_those_who_ask(method: str) -> None:
    async with stand() as made:
        made.answer = HttpReply(200, b"a page")
        visit = made.visit({**websocket_scope(), "type": "http", "method": method})
        await visit.ended()
        assert (visit.sent[0]["status"], made.requests) == (405, [])
        assert (b"allow", b"GET, HEAD") in visit.sent[0]["headers"]


async def test_a_plain_request_that_a_gate_takes_for_a_handshake_is_none() -> None:
    async with stand() as made:
        visit = made.visit({**websocket_scope(), "type": "http", "method": "GET"})
        await visit.ended()
        assert visit.sent[0]["status"] == 426
        assert not any(peer.was_opened for peer in made.peers)
        made.peers.clear()


# -- a server that fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", BROKEN, ids=["OSError", "RuntimeError"])
@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_refusal_that_nobody_takes_is_no_error(kind: str, broken: Exception) -> None:
    async with stand() as made:
        made.answer = HttpReply(403, b"not you\n")
        visit = Visit({**websocket_scope(), "type": kind, "method": "GET"})
        visit.broken = broken
        visit.begin(made.engine.serve)
        await visit.ended()
        assert visit.sent == []


@pytest.mark.parametrize("broken", BROKEN, ids=["OSError", "RuntimeError"])
async def test_a_close_that_nobody_takes_ends_in_time(broken: Exception) -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.broken = broken
        peer.transport.close(4000, "bye")
        assert await peer.closed_with() == (1006, "")
        await visit.ended()


async def test_a_server_that_fails_in_the_middle_of_a_burst_ends_it_once() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        for number in range(100):
            peer.transport.send(b"%d" % number, False)
        await visit.until(lambda: len(visit.messages) == 100)
        visit.broken = OSError("gone")
        for number in range(100):  # each finds the pump gone, and wakes another
            peer.transport.send(b"%d" % number, False)
            await asyncio.sleep(0)
        assert await peer.closed_with() == (1006, "")
        assert (len(visit.messages), peer.transport.buffered) == (100, 0)


async def test_a_server_that_cancels_while_the_pump_waits_leaves_no_pump() -> None:
    async with stand(high_water_bytes=10) as made:
        visit, peer = await made.open()
        visit.taking.clear()
        peer.transport.send(b"x" * 100, True)
        await asyncio.sleep(0)
        assert visit.task is not None
        visit.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit.ended()
        assert (peer.closings, peer.transport.buffered) == ([(1006, "")], 0)


async def test_a_server_that_speaks_after_the_end_is_not_heard() -> None:
    async with stand() as made:
        visit, peer = await made.open()
        visit.leave(1000, "bye")
        visit.text("late")
        assert await peer.closed_with() == (1000, "bye")
        await visit.ended()
        assert peer.messages == []


async def test_codes_of_other_kinds_than_numbers_are_numbers_here() -> None:
    from websockets.frames import CloseCode

    async with stand() as made:
        visit, peer = await made.open()
        visit.leave(CloseCode.PROTOCOL_ERROR, "bad")
        code, _ = await peer.closed_with()
        assert (code, type(code)) == (1002, int)


# -- stopping ------------------------------------------------------------------------------------------


async def test_stop_does_not_wait_for_handshakes_that_wait_for_the_server() -> None:
    async with stand(handshake_timeout=60.0) as made:
        visit = Visit(websocket_scope())
        visit.taking.clear()
        visit.begin(made.engine.serve)
        for _ in range(5):
            await asyncio.sleep(0)
        [peer] = made.peers
        assert not peer.was_opened
        async with asyncio.timeout(5.0):
            await made.engine.stop()
        assert peer.closings == [(1006, "")]
        visit.taking.set()
        await visit.ended()
        assert [each["type"] for each in visit.sent] == ["websocket.close"]  # which is a 403 there


async def test_those_who_never_read_hold_what_they_may_and_no_more() -> None:
    """The queue is bounded by whoever writes: the peer knows from the first byte over the mark."""
    async with stand(high_water_bytes=1000) as made:
        visits = [await made.open() for _ in range(50)]
        for visit, peer in visits:
            visit.taking.clear()
            while not peer.congestion:
                peer.transport.send(b"x" * 100, True)
            assert peer.transport.buffered == 1100
        for _, peer in visits:
            peer.transport.close(4504, "too slow")
        for _, peer in visits:
            assert await peer.closed_with() == (1006, "")
            assert peer.transport.buffered == 0
