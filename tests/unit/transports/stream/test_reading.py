"""What the default engine reads by itself and what a parser reads for it are one and the same stream.

Streams that may be wrong in every byte are read by both engines, cut anywhere; they must hear the same messages, the
same control frames and fragments, and end with the same code.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import FrameParser
from mycelia.transports.seam import Control
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.tcp.picows import PicowsEngine
from mycelia.transports.tcp.websockets import WebsocketsEngine
from tests.unit.transports.support import ENGINES, Bench, bench

KEY = b"\x11\xa2\x03\xf4"
SIZES = (0, 1, 2, 5, 124, 125, 126, 127, 128, 200, 4095, 4096, 4097)
READ = 8 * 1024
LAST = b"\x81\x81\x11\xa2\x03\xf4" + bytes([ord("x") ^ 0x11])  # the frame whose beginning fills a read


def raw_frame(first: int, payload: bytes, *, masked: bool = True, form: int = 0, claimed: int | None = None) -> bytes:
    """A frame by hand: any first byte, a length in the shortest form (0) or that of 16 or 64 bits, perhaps untrue."""
    size = len(payload) if claimed is None else claimed
    mark = 0x80 if masked else 0
    shortest = 0 if size < 126 else 2 if size < 65536 else 8
    form = max(form, shortest)
    length = bytes([mark | size]) if form == 0 else bytes([mark | (126 if form == 2 else 127)]) + size.to_bytes(form)
    body = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))
    return bytes([first]) + length + (KEY + body if masked else payload)


def good(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    return raw_frame((0x80 if fin else 0) | opcode, payload)


_payloads = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(SIZES).map(lambda size: b"t" * size),
    st.sampled_from(["grüß".encode(), b"\xff", b"\xe2\x82", b"\xac", b"\xed\xa0\x80"]),
)
_whole = st.builds(good, st.sampled_from([1, 1, 1, 2]), _payloads)
_fragment = st.builds(good, st.sampled_from([0, 0, 1, 2]), _payloads, st.booleans())
_control = st.builds(good, st.sampled_from([9, 10]), st.binary(max_size=125))
_close = st.builds(
    good, st.just(8), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03", b"\x03\xed", b"\x03\xe8\xff"])
)
_odd = st.builds(
    raw_frame,
    st.integers(0, 255),
    st.one_of(st.binary(max_size=8), st.sampled_from([125, 126, 200]).map(lambda size: b"o" * size)),
    masked=st.sampled_from([True, True, True, False]),
    claimed=st.one_of(st.none(), st.none(), st.sampled_from([0, 3, 70_000, 2**63 - 1])),
)
_common = st.one_of(_whole, _whole, _whole, _control, _fragment)
streams = st.tuples(
    st.lists(_common, max_size=8),
    st.lists(st.one_of(_common, _close, _odd), max_size=3),
).map(lambda parts: b"".join([*parts[0], *parts[1]]))


async def outcome(engine: type[StreamEngine], pieces: list[bytes], most: int) -> dict[str, Any]:
    async with bench(engine, max_message_bytes=most) as stand:
        connection, stream, peer = stand.open()
        for piece in pieces:
            if stream.lost or connection._stream.is_closing():
                break
            stand.feed(connection, piece)
        codes = [
            parse_close(one.payload)[0] for one in FrameParser(masked=False).feed(stream.output) if one.opcode == 8
        ]
        return {
            "messages": peer.messages,
            "controls": peer.controls,
            "codes": codes,
            "failures": peer.failures,
        }


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


@settings(max_examples=100)
@given(
    data=streams,
    places=st.lists(st.integers(0, 20_000), max_size=5),
    most=st.sampled_from([125, 126, 127, 200, 4096, 2**20]),
)
async def test_both_engines_hear_the_same(data: bytes, places: list[int], most: int) -> None:
    pieces = cut(data, places)
    mine, reference = await outcome(PicowsEngine, pieces, most), await outcome(WebsocketsEngine, pieces, most)
    if reference["failures"] == [1002] and mine["codes"] and not mine["failures"]:
        # That library takes a Close for a fault while a fragmented message is open; RFC 6455 §5.4 allows it there.
        assert any(kind in (Control.FRAGMENT, Control.EMPTY_FRAGMENT) for kind, _ in mine["controls"])
        del reference["failures"], mine["failures"], reference["codes"], mine["codes"]
    elif mine["failures"] != reference["failures"]:  # a frame that is wrong in two ways: each names one of them
        for one in (mine, reference):
            assert one["failures"] == one["codes"] and one["failures"] in ([1002], [1007], [1009])
            del one["failures"], one["codes"]
    assert mine == reference


@settings(max_examples=100)
@given(
    data=st.lists(st.one_of(_whole, _fragment), max_size=6).map(b"".join),
    places=st.lists(st.integers(0, 20_000), max_size=4),
    most=st.sampled_from([1, 2, 5, 123, 124]),
)
async def test_both_engines_hear_the_same_below_the_shortest_extended_length(
    data: bytes, places: list[int], most: int
) -> None:
    pieces = cut(data, places)
    mine, reference = await outcome(PicowsEngine, pieces, most), await outcome(WebsocketsEngine, pieces, most)
    assert mine["messages"] == reference["messages"]
    assert bool(mine["failures"]) is bool(reference["failures"])


@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x89, 0x88])
@pytest.mark.parametrize(("size", "form"), [(0, 2), (5, 2), (125, 2), (5, 8), (126, 8), (300, 8)])
async def test_a_length_that_is_not_in_its_shortest_form(first: int, size: int, form: int) -> None:
    """RFC 6455 §5.2. Only the default engine looks: the library of the other reads such a length as any."""
    data = good(1, b"a") + raw_frame(first, b"x" * size, form=form)
    for at in range(4, 24):
        found = await outcome(PicowsEngine, cut(data, [at]), 2**20)
        assert (found["messages"], found["failures"]) == ([(b"a", False)], [1002]), at


KINDS = {
    "short": good(1, b"s" * 9),
    "medium": good(2, b"m" * 130),
    "large": good(2, b"l" * 4097),
    "empty": good(1, b""),
    "ping": good(9, b"p"),
    "parts": good(1, b"be", fin=False) + good(9, b"") + good(0, b"gin"),
}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
async def test_two_kinds_of_frames_cut_at_every_byte(first: str, second: str) -> None:
    data = KINDS[first] + KINDS[second] + KINDS["short"]
    whole = await outcome(WebsocketsEngine, [data], 2**20)
    near = {at for end in (0, len(KINDS[first]), len(KINDS[first] + KINDS[second])) for at in range(end - 9, end + 12)}
    async with bench(PicowsEngine) as stand:
        for at in sorted(near & set(range(len(data) + 1))):
            connection, _stream, peer = stand.open()
            for piece in (data[:at], data[at : at + 1], data[at + 1 :]):
                stand.feed(connection, piece)
            assert (peer.messages, peer.controls) == (whole["messages"], whole["controls"]), at
            assert connection.held_bytes == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("most", [1, 5, 125, 126, 127, 4096, 4097, 65535, 65536])
async def test_a_message_of_the_largest_size_and_one_more(engine: type[StreamEngine], most: int) -> None:
    for size, failures in ((most, []), (most + 1, [1009])):
        found = await outcome(engine, cut(good(2, b"x" * size), [3, 7, 9]), most)
        assert (len(found["messages"]), found["failures"]) == (1 - len(failures), failures)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_ping_inside_a_message_does_not_count_towards_its_size(engine: type[StreamEngine]) -> None:
    data = good(2, b"x" * 100, fin=False) + good(9, b"y" * 125) + good(0, b"x" * 25)
    found = await outcome(engine, [data], 125)
    assert (found["messages"], found["failures"]) == ([(b"x" * 125, True)], [])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("before", range(14))
async def test_a_read_that_ends_anywhere_in_a_frame(engine: type[StreamEngine], before: int) -> None:
    """One read brings 8 KiB at most, so every frame of a flood is cut somewhere sooner or later."""
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        data = good(1, b"p" * (before % 5)) * 2 + b"".join(good(1, b"%05d" % n + b"." * before) for n in range(2000))
        while data:
            buffer = memoryview(connection.get_buffer(-1))
            size = min(len(buffer), len(data))
            assert size <= READ
            buffer[:size], data = data[:size], data[size:]
            connection.buffer_updated(size)
            assert stream.reading is (size < READ)
            await asyncio.sleep(0)
            assert stream.reading
        assert [payload[:5] for payload, _ in peer.messages[2:]] == [b"%05d" % n for n in range(2000)]
        assert connection.held_bytes == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "behind", [good(1, b"late"), good(9, b"late"), good(8, b"\x03\xe8"), b"\x81\x05", b"\xff" * 40]
)
async def test_nothing_behind_a_close_is_heard(engine: type[StreamEngine], behind: bytes) -> None:
    data = good(1, b"a") + good(8, b"\x03\xe9") + behind
    for at in range(len(data) + 1):
        found = await outcome(engine, [piece for piece in (data[:at], data[at:]) if piece], 125)
        assert found == {"messages": [(b"a", False)], "controls": [], "codes": [1001], "failures": []}


@pytest.mark.parametrize("engine", ENGINES)
async def test_what_comes_after_our_close_is_dropped_and_its_close_is_found(engine: type[StreamEngine]) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, good(1, b"a") + good(1, b"half")[:5])
        connection.close(4000, "enough")
        stand.feed(connection, good(1, b"half")[5:] + good(1, b"b") + good(9, b"c") + good(2, b"d" * 300))
        stand.feed(connection, good(8, b"\x0f\xa0"))
        await peer.closed_with()
        assert (peer.messages, peer.controls) == ([(b"a", False)], [])
        frames = FrameParser(masked=False).feed(stream.output)
        assert [parse_close(one.payload) for one in frames] == [(4000, "enough")]
        assert stream.calls == ["close"]


def _full_read(stand: Bench, connection: Any) -> None:
    stand.feed(connection, good(1, b"x") * (READ // 7) + LAST[: READ % 7])


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_rest_ends_by_itself_and_never_the_pause_of_somebody_else(engine: type[StreamEngine]) -> None:
    async with bench(engine) as stand:
        connection, stream, _ = stand.open()
        _full_read(stand, connection)
        assert not stream.reading
        connection.pause()
        await asyncio.sleep(0)
        assert not stream.reading  # the rest is over, the pause is not
        connection.resume()
        assert stream.reading
        connection, stream, _ = stand.open()
        connection.pause()
        connection.resume()
        _full_read(stand, connection)
        connection.pause()
        connection.resume()
        assert not stream.reading  # the pause is over, the rest is not
        await asyncio.sleep(0)
        assert stream.reading


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["close", "fail", "abort", "lost", "peer's close"])
async def test_an_end_in_a_rest(engine: type[StreamEngine], how: str) -> None:
    """Who is closed meanwhile reads on, for the peer's Close; who is gone is left alone."""
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        _full_read(stand, connection)
        assert not stream.reading
        match how:
            case "close":
                connection.close(1000, "")
            case "fail":
                connection.fail(1008, "")
            case "abort":
                connection.abort()
            case "lost":
                stream.lost = True
                connection.connection_lost(ConnectionResetError())
            case _:
                stand.feed(connection, LAST[READ % 7 :] + good(8, b""))
        await asyncio.sleep(0)
        assert stream.reading is (how in ("close", "fail"))
        await peer.closed_with()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_pause_in_the_middle_of_a_read_lets_the_rest_of_it_through_and_no_more(
    engine: type[StreamEngine],
) -> None:
    async with bench(engine) as stand:
        connection, stream, peer = stand.open()
        peer.when_received = connection.pause
        _full_read(stand, connection)
        assert len(peer.messages) == READ // 7
        for _ in range(3):
            await asyncio.sleep(0)
        assert not stream.reading


@settings(max_examples=60)
@given(
    streams=st.lists(st.lists(_common, min_size=1, max_size=4).map(b"".join), min_size=2, max_size=4),
    step=st.integers(1, 40),
)
async def test_connections_share_a_window_and_no_byte(streams: list[bytes], step: int) -> None:
    """Every connection of an engine reads into the same 8 KiB: what one left there no other may find."""
    async with bench(PicowsEngine) as stand:
        opened = [stand.open() for _ in streams]
        at = 0
        while any(at < len(data) for data in streams):
            for (connection, stream, _), data in zip(opened, streams, strict=True):
                if (piece := data[at : at + step]) and not stream.lost:
                    stand.feed(connection, piece)
            at += step
        heard = [(peer.messages, peer.controls, peer.failures) for _, _, peer in opened]
    for data, (messages, controls, failures) in zip(streams, heard, strict=True):
        alone = await outcome(PicowsEngine, [data], 2**20)
        assert (messages, controls, failures) == (alone["messages"], alone["controls"], alone["failures"])


@pytest.mark.parametrize("engine", ENGINES)
async def test_who_was_closed_rests_as_well(engine: type[StreamEngine]) -> None:
    async with bench(engine, close_timeout=60.0) as stand:
        connection, stream, _ = stand.open()
        connection.close(4429, "abuse")
        _full_read(stand, connection)
        assert not stream.reading
        await asyncio.sleep(0)
        assert stream.reading
