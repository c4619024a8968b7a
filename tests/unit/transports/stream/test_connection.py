"""A connection over a byte stream, without a socket; over real ones every engine is shown by the suite."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.wire.codes import Close, close_payload
from mycelia.protocol.ws.frames import Frame, close_frame, frame, ping_frame, pong_frame
from mycelia.transports.seam import CanFrame, CanPause, CanPing, Control
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.framed_connection import FramedConnection
from mycelia.transports.transport_state import TransportState
from tests.unit.transports.support import ENGINES, HEAD, bench, encode

HELLO = encode([Frame(1, True, 0, b"hello")])
CLOSE = encode([Frame(8, True, 0, close_payload(1000, "bye"))])

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
Engine = type[StreamEngine]


@each_engine
async def test_a_head_may_come_in_any_two_pieces_with_frames_behind_it(engine: Engine) -> None:
    async with bench(engine) as stand:
        data = HEAD + HELLO + HELLO[:4]
        for cut in range(1, len(data)):
            connection, stream = stand.dial()
            stand.feed(connection, data[:cut])
            stand.feed(connection, data[cut:])
            assert stream.output.startswith(b"HTTP/1.1 101 ")
            assert stand.peers[-1].messages == [(b"hello", False)]
            stand.feed(connection, HELLO[4:])
            assert len(stand.peers[-1].messages) == 2
            connection.abort()


@each_engine
async def test_the_head_is_answered_before_the_peer_may_write(engine: Engine) -> None:
    async with bench(engine) as stand:
        stand.echo = True
        connection, stream = stand.dial()
        stand.feed(connection, HEAD + HELLO)
        assert stream.output.startswith(b"HTTP/1.1 101 ") and stream.output.endswith(frame(b"hello", False))


@each_engine
async def test_a_refusal_is_written_whole_and_what_follows_is_not_read(engine: Engine) -> None:
    async with bench(engine) as stand:
        stand.answer = HttpReply(403, b"no\n")
        connection, stream = stand.dial()
        stand.feed(connection, HEAD + HELLO)
        written = stream.output
        stand.feed(connection, HEAD)
        assert written.startswith(b"HTTP/1.1 403 ") and written.endswith(b"no\n")
        assert stream.output == written and stream.calls == ["close"] and not stand.peers


async def test_a_gate_that_raises_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: object) -> Any:
        raise RuntimeError("secret of the gate")

    async with bench() as stand:
        stand.engine.on("admit", broken)
        connection, stream = stand.dial()
        stand.feed(connection, HEAD)
        assert stream.output.startswith(b"HTTP/1.1 500 ") and b"secret" not in stream.output
    assert "secret of the gate" in caplog.text


@each_engine
async def test_what_is_written_in_each_state(engine: Engine) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        assert isinstance(connection, FramedConnection)
        connection.send(b"a", False)
        connection.send(b"b", True)
        connection.send_frame(frame(b"c", False))
        connection.ping(b"d")
        stand.feed(connection, encode([Frame(9, True, 0, b"e")]))
        expected = [frame(b"a", False), frame(b"b", True), frame(b"c", False), ping_frame(b"d"), pong_frame(b"e")]
        assert stream.written == expected and peer.controls == [(Control.PING, b"e")]
        connection.close(4000, "f")
        connection.close(4001, "g")
        connection.send(b"late", False)
        connection.send_frame(b"late")
        connection.ping(b"late")
        stand.feed(connection, HELLO + encode([Frame(9, True, 0, b"late")]))
        assert stream.written == [*expected, close_frame(4000, "f")]
        assert (peer.messages, peer.leavings, stream.calls) == ([], 0, [])
        stand.feed(connection, CLOSE)
        assert stream.written == [*expected, close_frame(4000, "f")] and stream.calls == ["close"]
        assert await peer.closed_with() == (1000, "bye")
        assert connection.state is TransportState.CLOSED


@each_engine
async def test_the_peers_close_is_answered_once_and_nothing_follows(engine: Engine) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, HELLO + CLOSE + HELLO + CLOSE)
        stand.feed(connection, HELLO)
        connection.send(b"late", False)
        connection.close(1000, "late")
        assert stream.written == [close_frame(1000)]
        assert (len(peer.messages), peer.leavings) == (1, 1)
        assert await peer.closed_with() == (1000, "bye")


@each_engine
async def test_an_empty_close_is_answered_by_an_empty_close(engine: Engine) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, encode([Frame(8, True, 0, b"")]))
        assert stream.written == [b"\x88\x00"]
        assert await peer.closed_with() == (1005, "")


@each_engine
async def test_a_broken_frame_is_told_to_the_peer_then_the_stream_is_half_closed_and_ends(engine: Engine) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, b"\x81\x05hello")
        assert peer.failures == [1002]
        assert stream.written[0][:4] == b"\x88" + bytes([len(stream.written[0]) - 2]) + b"\x03\xea"
        assert stream.calls == ["write_eof"]
        stand.feed(connection, HELLO)
        connection.fail(1011, "again")
        assert (len(stream.written), peer.messages, peer.failures) == (1, [], [1002])
        assert (await peer.closed_with())[0] == 1006
        assert stream.calls == ["write_eof", "abort"], "a peer that does not go is made to, after close_timeout"


async def test_a_close_that_is_not_answered_ends_after_close_timeout() -> None:
    async with bench() as stand:
        connection, stream, peer = stand.open()
        connection.close(1000, "")
        assert not stream.lost
        assert (await peer.closed_with())[0] == 1006 and stream.calls == ["abort"]


async def test_a_close_behind_what_the_peer_does_not_read_is_an_abort() -> None:
    async with bench() as stand:
        connection, stream, peer = stand.open()
        connection.pause_writing()
        connection.close(4504, "")
        assert (stream.written, stream.calls) == ([], ["abort"])
        assert (await peer.closed_with())[0] == 1006


@pytest.mark.parametrize("code", [999, 1004, 1006, 1015, 5000])
async def test_a_code_that_may_not_be_sent_changes_nothing(code: int) -> None:
    async with bench() as stand:
        connection, stream, _ = stand.open()
        with pytest.raises(ValueError, match=str(code)):
            connection.close(code, "")
        assert (connection.state, stream.written) == (TransportState.OPEN, [])


async def test_congestion_is_told_while_open_and_not_after() -> None:
    async with bench(high_water_bytes=4321) as stand:
        connection, stream, peer = stand.open()
        assert (stream.high, connection.buffered) == (4321, 77)
        connection.pause_writing()
        connection.resume_writing()
        connection.pause_writing()
        assert peer.congestion == [True, False, True]
        connection.close(1000, "")
        connection.resume_writing()
        assert peer.congestion == [True, False, True]


async def test_pausing_stops_the_stream_and_a_close_starts_it_again() -> None:
    async with bench() as stand:
        connection, stream, peer = stand.open()
        connection.pause()
        connection.pause()
        assert not stream.reading
        connection.resume()
        connection.resume()
        assert stream.reading
        connection.pause()
        connection.close(1000, "")
        assert stream.reading, "or the peer's Close would never be read"
        connection.abort()
        await peer.closed_with()
        connection.resume()
        connection.pause()


async def test_abort_at_every_stage() -> None:
    async with bench() as stand:
        half, half_stream = stand.dial()
        half.abort()
        half.abort()
        assert half_stream.calls[0] == "abort"
        connection, _, peer = stand.open()
        connection.abort()
        connection.send(b"late", False)
        assert (await peer.closed_with())[0] == Close.ABNORMAL
        connection.abort()
    assert len(stand.peers) == 1


@each_engine
async def test_a_loss_in_the_middle_of_a_frame_is_1006(engine: Engine) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, HELLO[:3])
        connection.eof_received()
        stream.abort()
        assert await peer.closed_with() == (1006, "")


async def test_it_has_every_ability_and_shows_what_is_beneath() -> None:
    async with bench(handshake_timeout=7.0) as stand:
        started = asyncio.get_running_loop().time()
        connection, stream, _ = stand.open()
        assert isinstance(connection, CanFrame) and isinstance(connection, CanPing) and isinstance(connection, CanPause)
        assert connection.native is stream
        assert stream.get_extra_info("peername") == ("192.0.2.1", 5) and connection.compression is None
        deadline = connection.deadline
        assert isinstance(deadline, float) and deadline >= started + 7.0
