"""The parsers that picows lends: what they read, and when they may be lent to somebody else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.ws.assembler import Assembler
from mycelia.protocol.ws.frames import Frame, FrameFault, FrameParser, mask_frame
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Control
from mycelia.transports.stream.picows_reader import PicowsReaders
from mycelia.transports.stream.reader import READ_BYTES, FrameHandler, Reader
from mycelia.transports.tcp.picows import PicowsEngine
from tests.unit.transports.support import Owner, bench, encode, frames, read_into

KEY = b"\x01\x02\x03\x04"
HELLO = encode([Frame(1, True, 0, b"hello")])
PARTS = encode([Frame(1, False, 0, b"hel"), Frame(0, True, 0, b"lo")])  # never read without a parser
EVERY_KIND = [
    Frame(1, True, 0, "grüß".encode()),
    Frame(2, False, 0, b"\x00\x01"),
    Frame(9, True, 0, b"ping"),
    Frame(0, False, 0, b""),
    Frame(0, True, 0, b"\x02" * 130),
    Frame(10, True, 0, b""),
    Frame(1, True, 0, b""),
    Frame(1, False, 0, b"\xe2\x82"),
    Frame(0, True, 0, b"\xac"),
    Frame(2, True, 0, b"x" * 126),
]


@given(sequence=frames, cuts=st.lists(st.integers(0, 5000), max_size=4), key=st.binary(min_size=4, max_size=4))
async def test_every_frame_is_read_as_it_was_sent_wherever_the_stream_is_cut(
    sequence: list[Frame], cuts: list[int], key: bytes
) -> None:
    engine, owner = PicowsEngine(), Owner()
    reader = owner.of(engine)
    data = encode(sequence, key)
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        kept = read_into(reader, data[start:end])
        parser = FrameParser(masked=True)
        parser.feed(data[:end])
        assert kept is (parser.pending > 0)
    assert (owner.frames, owner.failures) == (sequence, [])


@given(sequence=frames)
async def test_a_stream_in_one_piece_or_in_many_is_the_same(sequence: list[Frame]) -> None:
    data = encode(sequence)
    readings = []
    for parts in ([data], [data[:1], data[1:]], [data[n : n + 1] for n in range(len(data))]):
        owner = Owner()
        reader = owner.of(PicowsEngine())
        for part in parts:
            if part:
                read_into(reader, part)
        readings.append(owner.frames)
    assert readings[0] == readings[1] == readings[2] == sequence


async def test_a_stream_cut_in_two_at_every_byte_gives_the_same_messages() -> None:
    data = encode(EVERY_KIND)
    parser, assembler = FrameParser(masked=True), Assembler(2**20)
    expected = [
        found for one in parser.feed(data) if (found := assembler.feed(one.opcode, one.fin, one.rsv, one.payload))
    ]
    assert len(expected) == 5
    async with bench() as stand:
        for cut in range(len(data)):
            connection, _, peer = stand.open()
            stand.feed(connection, data[:cut])
            stand.feed(connection, data[cut:])
            assert peer.messages == expected
            kinds = [kind for kind, _ in peer.controls if kind is not Control.FRAGMENT]
            assert kinds == [Control.PING, Control.EMPTY_FRAGMENT, Control.PONG]


async def test_a_stream_byte_by_byte_gives_the_same_messages() -> None:
    data = encode(EVERY_KIND)
    async with bench() as stand:
        connection, _, peer = stand.open()
        for at in range(len(data)):
            stand.feed(connection, data[at : at + 1])
        assert [payload for payload, _ in peer.messages] == [
            "grüß".encode(),
            b"\x00\x01" + b"\x02" * 130,
            b"",
            "€".encode(),
            b"x" * 126,
        ]


@given(sequence=frames, cut=st.integers(0, 3000))
async def test_peers_hear_what_the_reference_says(sequence: list[Frame], cut: int) -> None:
    """Wrong orders, texts and reserved bits included: the same messages, then the same code."""
    assembler, messages, failure = Assembler(2**20), [], []
    try:
        for one in sequence:
            if found := assembler.feed(one.opcode, one.fin, one.rsv, one.payload):
                messages.append(found)
    except FrameFault as fault:
        failure.append(fault.close_code)
    data = encode(sequence)
    cut %= len(data) + 1
    async with bench() as stand:
        connection, _, peer = stand.open()
        stand.feed(connection, data[:cut])
        stand.feed(connection, data[cut:])
        assert (peer.messages, peer.failures) == (messages, failure)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x05hello", id="unmasked"),
        pytest.param(b"\x81\xfe\x00\x05" + mask_frame(1, b"hello", KEY)[2:], id="length of 5 in 16 bits"),
        pytest.param(b"\x81\xff" + (200).to_bytes(8) + mask_frame(1, b"h" * 200, KEY)[4:], id="of 200 in 64 bits"),
        pytest.param(b"\x81\xff\x80" + bytes(7) + KEY, id="length of 2**63"),
        pytest.param(mask_frame(3, b"", KEY), id="opcode 3"),
        pytest.param(mask_frame(11, b"", KEY), id="opcode 11"),
        pytest.param(mask_frame(9, b"", KEY, fin=False), id="fragmented ping"),
        pytest.param(mask_frame(9, b"x" * 126, KEY), id="long ping"),
    ],
)
@pytest.mark.parametrize("before", [b"", HELLO], ids=["first", "second"])
async def test_a_frame_that_is_wrong_by_itself_ends_it_at_any_cut(data: bytes, before: bytes) -> None:
    async with bench() as stand:
        for cut in range(len(before + data)):
            connection, _, peer = stand.open()
            stand.feed(connection, (before + data)[:cut])
            stand.feed(connection, (before + data)[cut:] + HELLO)
            assert len(peer.messages) == bool(before)
            assert len(peer.failures) == 1 and peer.failures[0] in (1002, 1009)


# -- the pool --------------------------------------------------------------------------------------


async def test_a_reader_is_kept_in_the_middle_of_a_frame_and_given_back_between_two() -> None:
    engine = PicowsEngine()
    reader = Owner().of(engine)
    for _ in range(3):
        for cut in range(1, len(HELLO)):
            assert read_into(reader, HELLO[:cut]) is True
            assert read_into(reader, HELLO[cut:]) is False
    assert read_into(reader, HELLO + HELLO[:3]) is True
    assert read_into(reader, HELLO[3:] + HELLO) is False


async def test_a_reader_that_was_given_back_serves_the_next_and_tells_it_nothing_of_the_last() -> None:
    engine = PicowsEngine()
    one, two = Owner(), Owner()
    first = one.of(engine)
    read_into(first, HELLO)
    engine.readers.release(first)
    second = two.of(engine)
    assert second is first
    assert read_into(second, encode([Frame(2, True, 0, b"two")])) is False
    assert [each.payload for each in one.frames] == [b"hello"]
    assert [each.payload for each in two.frames] == [b"two"]
    assert Owner().of(engine) is not first, "it is lent to one at a time"


@given(sequences=st.lists(frames, max_size=6))
async def test_a_pooled_reader_reads_right_whatever_it_read_before(sequences: list[list[Frame]]) -> None:
    engine = PicowsEngine()
    for sequence in sequences:
        owner = Owner()
        reader = owner.of(engine)
        data = encode(sequence)
        if data:
            read_into(reader, data[: len(data) // 2])
            assert read_into(reader, data[len(data) // 2 :]) is False
        assert owner.frames == sequence
        engine.readers.release(reader)


async def test_a_reader_that_has_grown_is_not_lent_again() -> None:
    engine = PicowsEngine()
    owner = Owner()
    grown = owner.of(engine)
    payload = b"x" * 200_000
    assert read_into(grown, encode([Frame(2, True, 0, payload)])) is False
    assert owner.frames == [Frame(2, True, 0, payload)]
    engine.readers.release(grown)
    assert Owner().of(engine) is not grown


async def test_a_reader_that_was_discarded_is_not_lent_again() -> None:
    engine = PicowsEngine()
    reader = Owner().of(engine)
    read_into(reader, HELLO[:3])
    engine.readers.discard(reader)
    assert Owner().of(engine) is not reader


async def test_the_pool_is_bounded() -> None:
    engine = PicowsEngine()
    readers = [Owner().of(engine) for _ in range(100)]
    for reader in readers:
        engine.readers.release(reader)
    again = {id(Owner().of(engine)) for _ in range(100)}
    assert 0 < len(again & {id(reader) for reader in readers}) <= 20


@pytest.mark.parametrize("size", [1000, 14_000, 14 * 1024 - 8, 15_000, 16_384, 30_000, 70_000])
async def test_frames_around_the_size_of_the_buffer(size: int) -> None:
    engine = PicowsEngine()
    owner = Owner()
    reader = owner.of(engine)
    sequence = [Frame(1, True, 0, b"a"), Frame(2, True, 0, b"x" * size), Frame(1, True, 0, b"b")] * 3
    read_into(reader, encode(sequence))
    assert owner.frames == sequence
    for one in sequence:
        assert read_into(reader, encode([one])) is False
    assert owner.frames == sequence * 2


class CountingReaders(PicowsReaders):
    """Writes down what it lends."""

    def __init__(self, lent: list[Reader], max_message_bytes: int) -> None:
        super().__init__(max_message_bytes)
        self._lent = lent

    def acquire(self, owner: FrameHandler) -> Reader:
        self._lent.append(super().acquire(owner))
        return self._lent[-1]


class Counting(PicowsEngine):
    """Writes down what its readers lend."""

    def __init__(self) -> None:
        self.lent: list[Reader] = []
        super().__init__()

    def make_readers(self, options: EngineOptions) -> PicowsReaders:
        return CountingReaders(self.lent, options.max_message_bytes)


async def test_one_reader_serves_all_connections_that_are_between_frames() -> None:
    async with bench(Counting) as stand:
        connections = [stand.open()[0] for _ in range(5)]
        for connection in connections * 2:
            stand.feed(connection, PARTS)
        assert isinstance(stand.engine, Counting)
        assert len(stand.engine.lent) == 10 and len({id(reader) for reader in stand.engine.lent}) == 1
        assert all(peer.messages == [(b"hello", False)] * 2 for peer in stand.peers)


async def test_whole_short_messages_need_no_reader() -> None:
    async with bench(Counting) as stand:
        connection, _, peer = stand.open()
        sizes = (0, 1, 125, 126, 127, 4096, READ_BYTES - 8)
        messages = [(b"x" * size, binary) for size in sizes for binary in (False, True)]
        for payload, binary in messages:
            stand.feed(connection, encode([Frame(1 + binary, True, 0, payload)]))
        assert isinstance(stand.engine, Counting)
        assert (peer.messages, stand.engine.lent, connection.held_bytes) == (messages, [], 0)


@pytest.mark.parametrize(("size", "lent"), [(5, 0), (125, 0), (126, 0), (4096, 0), (4097, 1), (70_000, 1)])
async def test_the_beginning_of_a_short_message_waits_without_a_reader_and_is_accounted_for(
    size: int, lent: int
) -> None:
    data = encode([Frame(1, True, 0, b"y" * size)])
    async with bench(Counting) as stand:
        connection, _, peer = stand.open()
        assert isinstance(stand.engine, Counting)
        for cut in (1, 2, 3, 4, 7, len(data) - 1):
            stand.feed(connection, data[:cut])
            assert connection.held_bytes == cut
            stand.feed(connection, data[cut:])
            assert connection.held_bytes == 0
        assert peer.messages == [(b"y" * size, False)] * 6
        assert bool(stand.engine.lent) is bool(lent)


@pytest.mark.parametrize("size", [100, 101])
async def test_a_message_above_the_limit_is_refused_however_short(size: int) -> None:
    async with bench() as stand:
        stand.engine.options = EngineOptions(max_message_bytes=100)
        connection, _, peer = stand.open()
        stand.feed(connection, encode([Frame(2, True, 0, b"z" * size)]))
        assert (len(peer.messages), peer.failures) == ((1, []) if size == 100 else (0, [1009]))


async def test_two_connections_whose_frames_interleave_do_not_mix() -> None:
    async with bench() as stand:
        (one, _, first), (two, _, second) = stand.open(), stand.open()
        left = encode([Frame(1, True, 0, b"left"), Frame(2, True, 0, b"L" * 300)])
        right = encode([Frame(1, True, 0, b"right"), Frame(2, True, 0, b"R" * 300)], b"\xff\x00\xff\x00")
        for at in range(0, max(len(left), len(right)), 3):
            stand.feed(one, left[at : at + 3])
            stand.feed(two, right[at : at + 3])
        assert first.messages == [(b"left", False), (b"L" * 300, True)]
        assert second.messages == [(b"right", False), (b"R" * 300, True)]


async def test_a_peer_that_raises_is_logged_and_closed_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("fault of a peer")

    async with bench() as stand:
        connection, stream, peer = stand.open()
        peer.when_received = broken
        stand.feed(connection, HELLO + HELLO)
        assert (peer.failures, len(peer.messages)) == ([1011], 1)
        assert stream.output[:4] == b"\x88\x02\x03\xf3"
    assert "fault of a peer" in caplog.text


async def test_what_a_close_in_a_callback_leaves_of_a_read_is_dropped() -> None:
    async with bench() as stand:
        connection, _, peer = stand.open()
        peer.when_received = lambda: connection.close(1000, "enough")
        stand.feed(connection, HELLO * 3)
        assert len(peer.messages) == 1
