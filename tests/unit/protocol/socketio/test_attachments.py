"""Binary attachments: found in values, and packed into one bytes object."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from mycelia.protocol.socketio.attachments import holds_bytes, join, split
from mycelia.protocol.socketio.packets import SocketPacket, read_packet


def test_binary_values_are_found() -> None:
    for value in (b"", [b"x"], {"a": [1, {"b": (b"x",)}]}):
        assert holds_bytes(value)
    plain: Any
    for plain in (None, "x", [1, "x", {"a": []}], {"a": (1.5, None)}):
        assert not holds_bytes(plain)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=9))
def test_pieces_come_apart_as_they_were(pieces: list[bytes]) -> None:
    marks = [{"_placeholder": True, "num": number} for number in range(len(pieces))]
    text = b"5%d-%b" % (len(pieces), json.encode(["a", *marks]))
    messages = [(text, False), *((piece, True) for piece in pieces)]
    assert split(join(messages)) == messages
    packet = read_packet(text, 9)._replace(awaited=0, attachments=tuple(pieces))
    assert isinstance(packet, SocketPacket) and split(packet.joined()) == messages
