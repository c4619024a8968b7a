"""RFC 6455 framing: the RFC's own examples, every length class, and streams cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.ws.frames import (
    Frame,
    FrameFault,
    FrameParser,
    Opcode,
    apply_mask,
    binary_header,
    close_frame,
    frame,
    header,
    mask_frame,
    ping_frame,
    pong_frame,
    text_header,
)

KEY = bytes.fromhex("37fa213d")
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 70000]

# RFC 6455 §5.7: bytes, and the frames that they are
EXAMPLES = [
    ("810548656c6c6f", Frame(1, True, 0, b"Hello")),
    ("818537fa213d7f9f4d5158", Frame(1, True, 0, b"Hello", masked=True)),
    ("010348656c", Frame(1, False, 0, b"Hel")),
    ("80026c6f", Frame(0, True, 0, b"lo")),
    ("890548656c6c6f", Frame(9, True, 0, b"Hello")),
    ("8a8537fa213d7f9f4d5158", Frame(10, True, 0, b"Hello", masked=True)),
    ("827e0100" + "ab" * 256, Frame(2, True, 0, b"\xab" * 256)),
    ("827f0000000000010000" + "cd" * 65536, Frame(2, True, 0, b"\xcd" * 65536)),
]


@pytest.mark.parametrize(("raw", "wanted"), EXAMPLES, ids=[raw[:16] for raw, _ in EXAMPLES])
def test_the_examples_of_the_rfc(raw: str, wanted: Frame) -> None:
    data = bytes.fromhex(raw)
    assert FrameParser().feed(data) == [wanted]
    if wanted.masked:
        assert mask_frame(wanted.opcode, wanted.payload, KEY) == data
    else:
        assert header(wanted.opcode, len(wanted.payload), fin=wanted.fin) + wanted.payload == data


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("binary", [False, True])
def test_a_frame_is_its_header_and_its_payload(length: int, binary: bool) -> None:
    payload = b"x" * length
    opcode = Opcode.BINARY if binary else Opcode.TEXT
    quick = binary_header if binary else text_header
    assert frame(payload, binary) == header(opcode, length) + payload == quick(length) + payload
    assert FrameParser(masked=False).feed(frame(payload, binary)) == [Frame(opcode, True, 0, payload)]
    assert FrameParser(masked=True).feed(mask_frame(opcode, payload, KEY)) == [
        Frame(opcode, True, 0, payload, masked=True)
    ]


def test_the_bits_of_the_first_byte() -> None:
    assert header(1, 0) == b"\x81\x00"
    assert header(1, 0, fin=False) == b"\x01\x00"
    assert header(2, 0, rsv1=True) == b"\xc2\x00"
    assert header(2, 1 << 40, rsv1=True) == b"\xc2\x7f" + (1 << 40).to_bytes(8)
    assert FrameParser().feed(mask_frame(1, b"", KEY, fin=False, rsv=7)) == [Frame(1, False, 7, b"", masked=True)]


def test_control_frames() -> None:
    assert ping_frame() == b"\x89\x00"
    assert ping_frame(b"ab") == b"\x89\x02ab"
    assert pong_frame(b"ab") == b"\x8a\x02ab"
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    assert close_frame(4401, "no") == b"\x88\x04\x11\x31no"
    assert len(close_frame(1011, "é" * 100)) <= 127


@pytest.mark.parametrize("build", [ping_frame, pong_frame])
def test_a_control_frame_holds_at_most_125_bytes(build: type) -> None:
    assert len(build(b"x" * 125)) == 127
    with pytest.raises(ValueError, match="at most 125"):
        build(b"x" * 126)


def test_mistakes_of_the_writer() -> None:
    with pytest.raises(ValueError, match="control frame"):
        header(Opcode.PING, 0, fin=False)
    with pytest.raises(ValueError, match="below 2"):
        header(Opcode.TEXT, 1 << 63)
    with pytest.raises(ValueError, match="expected 4 bytes"):
        mask_frame(1, b"", b"123")


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_is_nothing(payload: bytes, key: bytes) -> None:
    assert apply_mask(payload, key) == bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    assert apply_mask(apply_mask(payload, key), key) == payload


@pytest.mark.parametrize(
    ("raw", "code", "says"),
    [
        ("83", 1002, "unknown opcode 3"),
        ("87", 1002, "unknown opcode 7"),
        ("8b", 1002, "unknown opcode 11"),
        ("8f", 1002, "unknown opcode 15"),
        ("09", 1002, "fragmented"),
        ("08", 1002, "fragmented"),
        ("897e", 1002, "longer than 125"),
        ("88ff", 1002, "longer than 125"),
        ("817e007d", 1002, "shortest"),
        ("817f000000000000ffff", 1002, "shortest"),
        ("817f8000000000000000", 1002, "shortest"),
        ("817e0bb9", 1009, "at most 3000"),
        ("817f7fffffffffffffff", 1009, "at most 3000"),
        ("8100 83", 1002, "unknown opcode 3"),
    ],
)
def test_a_fault_shows_at_the_first_byte_that_cannot_be_right(raw: str, code: int, says: str) -> None:
    data = bytes.fromhex(raw)
    parser = FrameParser(max_bytes=3000)
    parser.feed(data[:-1])
    with pytest.raises(FrameFault, match=says) as caught:
        parser.feed(data[-1:])
    assert caught.value.close_code == code


def test_masking_is_as_expected() -> None:
    with pytest.raises(FrameFault, match="not masked"):
        FrameParser(masked=True).feed(b"\x81\x00")
    with pytest.raises(FrameFault, match="is masked"):
        FrameParser(masked=False).feed(b"\x81\x80")


frames = st.builds(
    Frame,
    opcode=st.sampled_from([0, 1, 2]),
    fin=st.booleans(),
    rsv=st.integers(0, 7),
    payload=st.one_of(st.binary(max_size=20), st.binary(min_size=120, max_size=140), st.just(b"z" * 65536)),
    masked=st.just(True),
)


@given(st.lists(frames, max_size=4), st.lists(st.integers(1, 200), max_size=50))
def test_a_stream_may_be_cut_anywhere(sent: list[Frame], sizes: list[int]) -> None:
    data = b"".join(mask_frame(one.opcode, one.payload, KEY, one.fin, one.rsv) for one in sent)
    parser = FrameParser(masked=True)
    got: list[Frame] = []
    at = 0
    for size in sizes:
        got += parser.feed(data[at : at + size])
        at += size
    got += parser.feed(data[at:])
    assert got == sent
    assert parser.pending == 0


def test_a_stream_cut_at_every_byte() -> None:
    data = b"".join(bytes.fromhex(raw) for raw, _ in EXAMPLES[:-1])
    wanted = [one for _, one in EXAMPLES[:-1]]
    for cut in range(len(data) + 1):
        parser = FrameParser()
        assert parser.feed(data[:cut]) + parser.feed(data[cut:]) == wanted
    parser = FrameParser()
    assert [one for at in range(len(data)) for one in parser.feed(data[at : at + 1])] == wanted
