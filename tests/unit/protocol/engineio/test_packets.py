"""Engine.IO packets and bodies, and which requests are reject how."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.engineio.packets import (
    SEPARATOR,
    Packet,
    PacketFault,
    PacketKind,
    read_frame,
    read_payload,
    write_frame,
    write_part,
)
from mycelia.protocol.engineio.requests import ErrorResponse

MESSAGE = PacketKind.MESSAGE
MOST = 1_000_000

texts = st.text().map(str.encode)
safe_texts = st.text().map(lambda text: text.replace("\x1e", "").encode())


def packets(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Packet]:
    plain = st.builds(Packet, st.sampled_from(PacketKind), payloads, st.just(False))
    return plain | st.builds(Packet, st.just(MESSAGE), st.binary(), st.just(True))


def body_of(packets: Iterable[Packet]) -> bytes:
    return SEPARATOR.join(map(write_part, packets))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"4hello", [Packet(MESSAGE, b"hello")]),
        (
            b"4hello\x1e2\x1e4world",
            [Packet(MESSAGE, b"hello"), Packet(PacketKind.PING), Packet(MESSAGE, b"world")],
        ),
        (b"4hello\x1ebAQIDBA==", [Packet(MESSAGE, b"hello"), Packet(MESSAGE, b"\1\2\3\4", True)]),
        ("4€".encode(), [Packet(MESSAGE, "€".encode())]),
        (b"2probe", [Packet(PacketKind.PING, b"probe")]),
        (b"4", [Packet(MESSAGE)]),
        (b"b", [Packet(MESSAGE, b"", True)]),
        (b"6", [Packet(PacketKind.NOOP)]),
    ],
)
def test_bodies(body: bytes, expected: list[Packet]) -> None:
    assert read_payload(body, MOST, 16) == expected
    assert body_of(expected) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"abc",
        b"7",
        b"-1",
        b"\x1e",
        b"4a\x1e",
        b"\x1e4a",
        b"4\xff",
        b"4\xed\xa0\x80",
        b"bAQI",
        b"bA-_D",
        b"b AQIDBA==",
    ],
)
def test_what_is_no_body(body: bytes) -> None:
    with pytest.raises(PacketFault) as caught:
        read_payload(body, MOST, 16)
    assert caught.value.error_response is ErrorResponse.BAD_REQUEST


def test_a_body_is_bounded_in_bytes_and_packets() -> None:
    assert len(read_payload(b"4aaa", 4, 16)) == 1
    assert len(read_payload(b"4\x1e4\x1e4", MOST, 3)) == 3
    for body, most_bytes, most_packets in ((b"4aaaa", 4, 16), (b"4\x1e4\x1e4\x1e4", MOST, 3)):
        with pytest.raises(PacketFault) as caught:
            read_payload(body, most_bytes, most_packets)
        assert caught.value.error_response is ErrorResponse.TOO_LARGE


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        ((b"4hello", False), Packet(MESSAGE, b"hello")),
        ((b"\1\2\3", True), Packet(MESSAGE, b"\1\2\3", True)),
        ((b"", True), Packet(MESSAGE, b"", True)),
        ((b"3probe", False), Packet(PacketKind.PONG, b"probe")),
        ((b"4a\x1eb", False), Packet(MESSAGE, b"a\x1eb")),
    ],
)
def test_frames(frame: tuple[bytes, bool], packet: Packet) -> None:
    assert read_frame(*frame) == packet
    assert write_frame(packet) == frame


@pytest.mark.parametrize("text", [b"", b"abc", b"7", b"bAQIDBA=="])
def test_what_is_no_frame(text: bytes) -> None:
    with pytest.raises(PacketFault):
        read_frame(text, False)


@given(st.lists(packets(safe_texts), min_size=1))
def test_bodies_come_back(given_packets: list[Packet]) -> None:
    body = body_of(given_packets)
    assert read_payload(body, len(body), len(given_packets)) == given_packets


@given(packets(texts))
def test_frames_come_back(packet: Packet) -> None:
    assert read_frame(*write_frame(packet)) == packet


@given(st.binary() | st.lists(st.sampled_from([b"4", b"b", b"\x1e", b"AQ==", b"2", "é".encode()])).map(b"".join))
def test_any_bytes_are_a_body_or_are_refused(body: bytes) -> None:
    try:
        found = read_payload(body, 100, 10)
    except PacketFault:
        return
    assert 1 <= len(found) <= 10
    assert read_payload(body_of(found), 100, 10) == found


def test_a_separator_in_a_text_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="0x1E"):
        body_of([Packet(MESSAGE, b"a\x1eb")])
    assert SEPARATOR not in body_of([Packet(MESSAGE, b"a\x1eb", True)])
