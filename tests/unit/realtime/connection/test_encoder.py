from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.codec import CODECS
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response
from mycelia.protocol.ws.frames import frame
from mycelia.realtime.connection.encoder import LARGE_BYTES, Dialect
from tests.unit.realtime.support import FakeTransport, PlainTransport

DIALECTS = [Dialect(CODECS[name], framed) for name in ("json", "msgpack") for framed in (True, False)]

# Where the header of a frame changes its length, and where the table of headers ends.
lengths = st.one_of(st.integers(0, 200), st.integers(900, 1100), st.integers(65_400, 65_600))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: f"{each.codec.name}-{each.framed}")
@given(size=lengths)
def test_a_packet_is_the_payload_or_its_finished_frame(dialect: Dialect, size: int) -> None:
    envelope = Event("e", "x" * size)
    payload = dialect.codec.encode(envelope)
    expected = frame(payload, dialect.codec.binary) if dialect.framed else payload
    assert dialect.pack(envelope) == expected
    value = {"event": "e", "data": "x" * size}
    payload = dialect.codec.encode_value(value)
    assert dialect.pack_value(value) == (frame(payload, dialect.codec.binary) if dialect.framed else payload)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: f"{each.codec.name}-{each.framed}")
def test_its_writer_uses_what_the_transport_can(dialect: Dialect) -> None:
    transport = FakeTransport()
    packet = dialect.pack(Event("e", 1))
    dialect.writer(transport)(packet)
    if dialect.framed:
        assert transport.writes[0] is packet and not transport.sent
    else:
        assert transport.sent == [(packet, dialect.codec.binary)] and not transport.writes


def test_a_framed_dialect_needs_a_transport_that_takes_frames() -> None:
    with pytest.raises(AttributeError, match="send_frame"):
        DIALECTS[0].writer(PlainTransport())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: f"{each.codec.name}-{each.framed}")
@pytest.mark.parametrize("bad", [object(), float("nan"), 2**64, {1: 2}])
def test_what_cannot_be_encoded_raises(dialect: Dialect, bad: Any) -> None:
    with pytest.raises(InvalidMessage):
        dialect.pack(Event("e", bad))
    with pytest.raises(InvalidMessage):
        dialect.pack_value({"event": "e", "data": bad})


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_what_holds_too_many_values_is_not_decoded(name: str) -> None:
    dialect = Dialect(CODECS[name], True, most_values=40_000)
    body = [1] * 50_000

    def message(**more: Any) -> bytes:
        return dialect.codec.encode_value({"path": "a://b", "body": body, "correlationId": "k", **more})

    for read in (dialect.decode_large, dialect.decode_value):
        with pytest.raises(ProtocolFault) as caught:
            read(message())
        fault = caught.value
        assert (fault.code, fault.details) == (Code.INVALID_MESSAGE, {"limit": 40_000})
    assert dialect.crowded == 2
    del body[30_000:]
    assert dialect.decode_large(message()) == Request("a://b", body, "k")
    assert dialect.crowded == 2
    anything = Dialect(CODECS[name], True)
    body *= 2
    assert anything.decode_large(message()) == Request("a://b", body, "k")


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_only_the_outline_of_a_large_message_is_read_where_that_is_enough(name: str) -> None:
    dialect = Dialect(CODECS[name], True)
    encode = dialect.codec.encode_value
    small = {"path": "a://b", "body": "x", "correlationId": "k"}
    assert dialect.skim(encode(small)) == Request("a://b", "x", "k")
    assert dialect.skim(encode({**small, "body": "x" * LARGE_BYTES})) == Request("a://b", None, "k")
    assert dialect.skim(encode({"success": True, "data": "x" * LARGE_BYTES})) == Response(True)
    assert dialect.skim(encode({"event": "e", "data": "x" * LARGE_BYTES})) == Event("e")
    assert dialect.skim(b"\xc1") == dialect.skim(b"\xc1" * LARGE_BYTES * 2) == Request()


def test_a_codec_that_cannot_skim_decodes() -> None:
    class Plain:
        name, binary, subprotocol = "plain", False, None
        decode, decode_value = CODECS["json"].decode, CODECS["json"].decode_value
        encode, encode_value = CODECS["json"].encode, CODECS["json"].encode_value

    dialect = Dialect(Plain(), True, most_values=40_000)
    payload = CODECS["json"].encode(Request("a://b", [1] * 50_000, "k"))
    assert dialect.decode_large(payload) == dialect.skim(payload) == Request("a://b", [1] * 50_000, "k")
