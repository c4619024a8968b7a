"""Checks of flow control: a client that does not read, and a peer that pauses reading."""

from __future__ import annotations

import asyncio

from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness, expect, read_close, read_message
from mycelia.testing.engines.recording_peer import RecordingPeer
from mycelia.testing.raw_client import RawClient

__all__ = ["CHECKS"]

_CHUNK = 64 * 1024
_MARK = 4 * _CHUNK
_MOST = 1024  # chunks; more than any two sockets can buffer
_NO_PROGRESS = 0.2  # seconds after which a sender counts as blocked


async def _congest(harness: EngineHarness) -> tuple[RawClient, RecordingPeer, int]:
    """Return a congested connection whose client reads nothing, its peer, and the number of chunks sent."""
    client, peer = await harness.open()
    sent = 0
    while not peer.congestion and sent < _MOST:
        peer.transport.send(b"%8d" % sent * (_CHUNK // 8), True)
        sent += 1
        await asyncio.sleep(0)
    expect("`congested` while the client does not read", peer.congestion, [True])
    expect("whether `buffered` is above the mark", peer.transport.buffered > _MARK, True)
    return client, peer, sent


async def _reports_congestion(harness: EngineHarness) -> None:
    await harness.start(high_water_bytes=_MARK)
    client, peer, sent = await _congest(harness)
    for number in range(sent):
        payload, _ = await read_message(client)
        expect("the order of what was sent", payload == b"%8d" % number * (_CHUNK // 8), True)
    await peer.until(lambda: len(peer.congestion) > 1)
    expect("`congested`", peer.congestion, [True, False])
    peer.transport.send(b"again", False)
    expect("a message afterwards", await read_message(client), (b"again", False))


async def _closes_while_congested(harness: EngineHarness) -> None:
    await harness.start(high_water_bytes=_MARK, close_timeout=60.0)
    _, peer, _ = await _congest(harness)
    peer.transport.close(4504, "too slow")
    code, _ = await peer.closed_with()
    expect("`closed`, at once", code, 1006 if harness.can("codes") else 4504)
    expect("`congested` after close()", peer.congestion, [True])


async def _client_leaves_while_congested(harness: EngineHarness) -> None:
    await harness.start(high_water_bytes=_MARK)
    client, peer, _ = await _congest(harness)
    await client.hang_up()
    await harness.expect_gone(peer)


async def _pauses(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    pausing = peer.pausing
    if pausing is None:
        return
    pausing.pause()
    pausing.pause()
    chunks = 256

    async def send_all() -> None:
        for number in range(chunks):
            await client.send(Opcode.BINARY, b"%8d" % number * (_CHUNK // 8))

    sending = asyncio.create_task(send_all())
    await asyncio.wait([sending], timeout=_NO_PROGRESS)
    expect("whether the client could send everything", sending.done(), False)
    expect("whether the peer received everything", len(peer.messages) < chunks, True)
    pausing.resume()
    await sending
    await peer.until(lambda: len(peer.messages) == chunks)
    order = [int(payload[:8]) for payload, _ in peer.messages]
    expect("the order after a pause", order, list(range(chunks)))


async def _closes_while_paused(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    if peer.pausing is None:
        return
    peer.pausing.pause()
    peer.transport.close(1001, "")
    await client.send(Opcode.CLOSE, close_payload(1001))
    expect("the Close", await read_close(client), (1001, ""))
    expect("`closed`", await peer.closed_with(), (1001, ""))


async def _stop_while_paused(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    if peer.pausing is None:
        return
    peer.pausing.pause()
    await client.send(Opcode.TEXT, b"held")
    await harness.engine.stop()
    expect("`closed`", peer.closings, [(1006, "")])


CHECKS = (
    EngineCheck("reports_congestion_and_its_end", _reports_congestion),
    EngineCheck("closes_a_congested_connection_at_once", _closes_while_congested),
    EngineCheck("notices_that_a_congested_client_left", _client_leaves_while_congested),
    EngineCheck("pauses_and_resumes", _pauses),
    EngineCheck("closes_a_paused_connection", _closes_while_paused, frozenset({"codes"})),
    EngineCheck("stops_with_a_paused_connection", _stop_while_paused),
)
