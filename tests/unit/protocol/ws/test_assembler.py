"""Fragments to messages, and every way in which a peer can get them wrong."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.ws.assembler import Assembler, FrameFault, Message, check_close, check_text

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
Fed = tuple[int, bool, int, bytes]


def fed(frames: list[Fed], max_bytes: int = 100) -> list[Message]:
    assembler = Assembler(max_bytes)
    return [message for one in frames if (message := assembler.feed(*one)) is not None]


@pytest.mark.parametrize(
    ("frames", "wanted"),
    [
        ([(TEXT, True, 0, b"Hello")], [(b"Hello", False)]),
        ([(BINARY, True, 0, b"\xff")], [(b"\xff", True)]),
        ([(TEXT, True, 0, b"")], [(b"", False)]),
        ([(TEXT, False, 0, b"Hel"), (CONT, True, 0, b"lo")], [(b"Hello", False)]),
        ([(TEXT, False, 0, b"Hel"), (PING, True, 0, b"x"), (CONT, True, 0, b"lo")], [(b"Hello", False)]),
        (
            [(BINARY, False, 0, b"\xff"), (CONT, False, 0, b""), (CONT, True, 0, b"\xfe")],
            [(b"\xff\xfe", True)],
        ),
        (
            [(TEXT, False, 0, b"\xc3"), (CONT, False, 0, b""), (CONT, True, 0, b"\xa9")],
            [("é".encode(), False)],
        ),
        (
            [(TEXT, False, 0, b"a"), (CONT, True, 0, b""), (BINARY, True, 0, b"b")],
            [(b"a", False), (b"b", True)],
        ),
        ([(BINARY, True, 0, b"x" * 100)], [(b"x" * 100, True)]),
        ([(BINARY, False, 0, b"x" * 99), (CONT, True, 0, b"x")], [(b"x" * 100, True)]),
        ([(CLOSE, True, 0, b""), (PING, True, 0, b"x" * 125), (PONG, True, 0, b"")], []),
    ],
)
def test_messages(frames: list[Fed], wanted: list[Message]) -> None:
    assert fed(frames) == wanted


@pytest.mark.parametrize(
    ("frames", "code", "says"),
    [
        ([(TEXT, True, 4, b"")], 1002, "reserved bits"),
        ([(TEXT, False, 0, b""), (CONT, True, 1, b"")], 1002, "reserved bits"),
        ([(PING, True, 2, b"")], 1002, "reserved bits"),
        ([(3, True, 0, b"")], 1002, "unknown opcode 3"),
        ([(7, True, 0, b"")], 1002, "unknown opcode 7"),
        ([(11, True, 0, b"")], 1002, "unknown opcode 11"),
        ([(15, True, 0, b"")], 1002, "unknown opcode 15"),
        ([(CONT, True, 0, b"")], 1002, "without a message"),
        ([(CONT, False, 0, b"")], 1002, "without a message"),
        ([(TEXT, False, 0, b"a"), (CONT, True, 0, b"b"), (CONT, True, 0, b"c")], 1002, "without a message"),
        ([(TEXT, False, 0, b"a"), (TEXT, True, 0, b"b")], 1002, "inside a fragmented"),
        ([(TEXT, False, 0, b"a"), (BINARY, False, 0, b"b")], 1002, "inside a fragmented"),
        ([(PING, False, 0, b"")], 1002, "fragmented"),
        ([(CLOSE, True, 0, b"x" * 126)], 1002, "longer than 125"),
        ([(PONG, True, 0, b"x" * 126)], 1002, "longer than 125"),
        ([(TEXT, True, 0, b"\xff")], 1007, "not UTF-8"),
        ([(TEXT, True, 0, b"\xc3")], 1007, "not UTF-8"),
        ([(TEXT, True, 0, b"\xed\xa0\x80")], 1007, "not UTF-8"),
        ([(TEXT, False, 0, b"\xff")], 1007, "not UTF-8"),
        ([(TEXT, False, 0, b"\xf4"), (CONT, False, 0, b"\x90")], 1007, "not UTF-8"),
        ([(TEXT, False, 0, b"\xed"), (CONT, False, 0, b"\xa0")], 1007, "not UTF-8"),
        ([(TEXT, False, 0, b"\xc3"), (CONT, False, 0, b"a")], 1007, "not UTF-8"),
        ([(TEXT, False, 0, b"\xc3"), (CONT, True, 0, b"")], 1007, "not UTF-8"),
        ([(TEXT, True, 0, b"x" * 101)], 1009, "at most 100"),
        ([(BINARY, False, 0, b"x" * 101)], 1009, "at most 100"),
        ([(BINARY, False, 0, b"x" * 100), (CONT, False, 0, b"x")], 1009, "at most 100"),
    ],
)
def test_the_last_of_these_frames_is_the_fault(frames: list[Fed], code: int, says: str) -> None:
    assembler = Assembler(100)
    for one in frames[:-1]:
        assembler.feed(*one)
    with pytest.raises(FrameFault, match=says) as caught:
        assembler.feed(*frames[-1])
    assert caught.value.close_code == code
    assert len(caught.value.reason.encode()) <= 123
    assert assembler.buffered == 0
    assert not assembler.open


def test_one_frame_is_handed_on_without_a_copy() -> None:
    payload = b"x" * 50
    message = Assembler(100).feed(BINARY, True, 0, payload)
    assert message is not None
    assert message[0] is payload


def test_nothing_is_held_between_messages() -> None:
    assembler = Assembler(100)
    assembler.feed(TEXT, False, 0, b"ab\xc3")
    assert (assembler.open, assembler.buffered) == (True, 3)
    assembler.feed(CONT, True, 0, b"\xa9")
    assert (assembler.open, assembler.buffered) == (False, 0)


controls = st.tuples(st.sampled_from([PING, PONG]), st.just(True), st.just(0), st.binary(max_size=125))


@st.composite
def fragmented(draw: st.DrawFn) -> tuple[list[Fed], Message]:
    """One message, cut at any places (also inside characters, also into nothing), with controls between."""
    binary = draw(st.booleans())
    payload = draw(st.binary(max_size=60)) if binary else draw(st.text(max_size=30)).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=6)))
    pieces = [payload[start:end] for start, end in pairwise([0, *cuts, len(payload)])]
    frames: list[Fed] = []
    for at, piece in enumerate(pieces):
        frames += draw(st.lists(controls, max_size=2))
        frames.append(((BINARY if binary else TEXT) if at == 0 else CONT, at == len(pieces) - 1, 0, piece))
    return frames, (payload, binary)


@given(st.lists(fragmented(), max_size=4))
def test_cut_anywhere_it_is_the_same_message(sent: list[tuple[list[Fed], Message]]) -> None:
    assert fed([one for frames, _ in sent for one in frames], 1000) == [message for _, message in sent]


def is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


nearly_utf8 = st.lists(
    st.one_of(
        st.text(max_size=3).map(str.encode),
        st.binary(max_size=2),
        st.sampled_from([b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe0\x9f\xbf", b"\xf0\x8f", b"\xe2\x82"]),
    ),
    max_size=6,
).map(b"".join)


@given(nearly_utf8, st.data())
def test_text_is_judged_as_bytes_decode_does(payload: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(payload)))
    for frames in (
        [(TEXT, True, 0, payload)],
        [(TEXT, False, 0, payload[:cut]), (CONT, True, 0, payload[cut:])],
    ):
        if is_utf8(payload):
            assert fed(frames, 1000) == [(payload, False)]
            check_text(payload)
        else:
            with pytest.raises(FrameFault) as caught:
                fed(frames, 1000)
            assert caught.value.close_code == 1007


@given(nearly_utf8)
def test_a_wrong_byte_fails_when_it_comes(payload: bytes) -> None:
    assembler = Assembler(1000)
    assembler.feed(TEXT, False, 0, b"")
    for at in range(len(payload)):
        # What can still become UTF-8 is a prefix of some text: complete it with up to three bytes.
        prefix = payload[: at + 1]
        try:
            prefix.decode()
            hopeless = False
        except UnicodeDecodeError as fault:
            hopeless = fault.reason != "unexpected end of data"
        if hopeless:
            with pytest.raises(FrameFault):
                assembler.feed(CONT, False, 0, payload[at : at + 1])
            return
        assembler.feed(CONT, False, 0, payload[at : at + 1])


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [(b"", (1005, "")), (b"\x03\xe8", (1000, "")), (b"\x11\x31no", (4401, "no"))],
)
def test_a_close_is_read(payload: bytes, wanted: tuple[int, str]) -> None:
    assert check_close(payload) == wanted


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xee", 1002), (b"\x00\x00", 1002), (b"\x03\xe8\xff", 1007)],
)
def test_a_bad_close_is_a_fault(payload: bytes, code: int) -> None:
    with pytest.raises(FrameFault) as caught:
        check_close(payload)
    assert caught.value.close_code == code
