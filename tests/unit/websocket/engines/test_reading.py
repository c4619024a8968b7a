"""What the default engine reads by itself and what a parser reads for it are one and the same stream.

Streams that may be wrong in every byte are read by both engines, cut anywhere; they must hear the same messages, the
same control frames and fragments, and end with the same code.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.protocol.frames import FrameParser, mask_frame, Opcode
from mycelia.protocol.codes import parse_close
from mycelia.websocket.engines.listener import StreamEngine
from mycelia.websocket.engines.picows import PicowsEngine
from mycelia.websocket.engines.websockets import WebsocketsEngine
from tests.unit.websocket.engines.support import ENGINES, Bench, bench

KEY = b"\x11\xa2\x03\xf4"
SIZES = (0, 1, 2, 5, 124, 125, 126, 127, 128, 200, 4095, 4096, 4097)
READ = 16 * 1024


def raw_frame(first: int, payload: bytes, *, masked: bool = True, form: int = 0, claimed: int | None = None) -> bytes:
    """A frame by hand: any first byte, a length in the shortest form (0) or in that of 16 or 64 bits, perhaps untrue."""
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
_close = st.builds(good, st.just(8), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03", b"\x03\xed", b"\x03\xe8\xff"]))
_odd = st.builds(
    raw_frame,
    st.integers(0, 255),
    st.one_of(st.binary(max_size=8), st.sampled_from([125, 126, 200]).map(lambda size: b"o" * size)),
    masked=st.sampled_from([True, True, True, False]),
    form=st.sampled_from([0, 0, 2, 8]),
    claimed=st.one_of(st.none(), st.none(), st.sampled_from([0, 3, 126, 70_000, 2**63 - 1])),
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
        codes = [parse_close(one.payload)[0] for one in FrameParser(masked=False).feed(stream.output) if one.opcode == 8]
        return {
            "messages": peer.messages,
            "controls": peer.controls,
            "codes": codes,
            "failures": peer.failures,
        }


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in zip(at, at[1:], strict=False)]


@settings(max_examples=300)
@given(
    data=streams,
    places=st.lists(st.integers(0, 20_000), max_size=5),
    most=st.sampled_from([125, 126, 127, 200, 4096, 2**20]),
)
async def test_both_engines_hear_the_same(data: bytes, places: list[int], most: int) -> None:
    pieces = cut(data, places)
    mine, reference = await outcome(PicowsEngine, pieces, most), await outcome(WebsocketsEngine, pieces, most)
    assert mine == reference
