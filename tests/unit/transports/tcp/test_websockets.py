"""The library's protocol as a reader: what becomes of it when its connection is gone."""

from __future__ import annotations

import gc
import weakref

import pytest

from mycelia.protocol.ws.frames import Frame, mask_frame
from mycelia.transports.tcp.websockets import WebsocketsEngine
from tests.unit.transports.support import Owner, encode, read_into

KEY = b"\x01\x02\x03\x04"
HELLO = encode([Frame(1, True, 0, b"hello")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HELLO,
        HELLO[:-2],
        encode([Frame(1, False, 0, b"hel")]),
        mask_frame(3, b"", KEY),  # no such opcode
        mask_frame(8, b"\x03\xe8", KEY),
        mask_frame(1, b"\xff", KEY),
    ],
    ids=["nothing", "message", "half-a-frame", "half-a-message", "bad-frame", "close", "bad-text"],
)
async def test_a_reader_whose_connection_is_gone_needs_no_collector(data: bytes) -> None:
    engine = WebsocketsEngine()
    gc.disable()
    try:
        reader = Owner().of(engine)
        read_into(reader, data)
        protocol = weakref.ref(reader.protocol)  # type: ignore[attr-defined]  # a _LibraryReader, which is private
        engine.readers.discard(reader)
        del reader
        assert protocol() is None
    finally:
        gc.enable()
