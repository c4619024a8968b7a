from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codec import CODECS
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response
from mycelia.protocol.ws.frames import frame
from mycelia.realtime.connection.encoder import LARGE_BYTES, Encoder
from tests.unit.realtime.support import FakeTransport, PlainTransport

ENCODERS = [Encoder(CODECS[name], framed, EventCounters()) for name in ("json", "msgpack") for framed in (True, False)]

# Where the header of a frame changes its length, and where the table of headers ends.
lengths = st.one_of(st.integers(0, 200), st.integers(900, 1100), st.integers(65_400, 65_600))


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda each: f"{each.codec.name}-{each.framed}")
@given(size=lengths)
def test_a_packet_is_the_payload_or_its_finished_frame(encoder: Encoder, size: int) -> None:
    envelope = Event("e", "x" * size)
    payload = encoder.codec.encode(envelope)
    expected = frame(payload, encoder.codec.binary) if encoder.framed else payload
    assert encoder.pack(envelope) == expected
    value = {"event": "e", "data": "x" * size}
    payload = encoder.codec.encode_value(value)
    assert encoder.pack_value(value) == (frame(payload, encoder.codec.binary) if encoder.framed else payload)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda each: f"{each.codec.name}-{each.framed}")
def test_its_writer_uses_what_the_transport_can(encoder: Encoder) -> None:
    transport = FakeTransport()
    packet = encoder.pack(Event("e", 1))
    encoder.writer(transport)(packet)
    if encoder.framed:
        assert transport.writes[0] is packet and not transport.sent
    else:
        assert transport.sent == [(packet, encoder.codec.binary)] and not transport.writes


def test_a_framed_encoder_needs_a_transport_that_takes_frames() -> None:
    with pytest.raises(AttributeError, match="send_frame"):
        ENCODERS[0].writer(PlainTransport())


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda each: f"{each.codec.name}-{each.framed}")
@pytest.mark.parametrize("bad", [object(), float("nan"), 2**64, {1: 2}])
def test_what_cannot_be_encoded_raises(encoder: Encoder, bad: Any) -> None:
    with pytest.raises(InvalidMessage):
        encoder.pack(Event("e", bad))
    with pytest.raises(InvalidMessage):
        encoder.pack_value({"event": "e", "data": bad})


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_what_holds_too_many_values_is_not_decoded(name: str) -> None:
    counters = EventCounters()
    encoder = Encoder(CODECS[name], True, counters, max_values=40_000)
    body = [1] * 50_000

    def message(**more: Any) -> bytes:
        return encoder.codec.encode_value({"path": "a://b", "body": body, "correlationId": "k", **more})

    for number in (1, 2):
        with pytest.raises(ProtocolFault) as caught:
            encoder.check_count(message())
        fault = caught.value
        assert (fault.code, fault.details) == (Code.INVALID_MESSAGE, {"limit": 40_000})
        assert counters[Counter.MESSAGE_VALUES] == number
    del body[30_000:]
    encoder.check_count(message())
    assert encoder.decode(message()) == Request("a://b", body, "k")
    assert counters[Counter.MESSAGE_VALUES] == 2
    unlimited = Encoder(CODECS[name], True, EventCounters())
    body *= 2
    unlimited.check_count(message())
    assert unlimited.decode(message()) == Request("a://b", body, "k")


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_only_the_outline_of_a_large_message_is_read_where_that_is_enough(name: str) -> None:
    encoder = Encoder(CODECS[name], True, EventCounters())
    encode = encoder.codec.encode_value
    small = {"path": "a://b", "body": "x", "correlationId": "k"}
    assert encoder.peek(encode(small)) == Request("a://b", "x", "k")
    assert encoder.peek(encode({**small, "body": "x" * LARGE_BYTES})) == Request("a://b", None, "k")
    assert encoder.peek(encode({"success": True, "data": "x" * LARGE_BYTES})) == Response(True)
    assert encoder.peek(encode({"event": "e", "data": "x" * LARGE_BYTES})) == Event("e")
    assert encoder.peek(b"\xc1") == encoder.peek(b"\xc1" * LARGE_BYTES * 2) == Request()


def test_a_codec_that_cannot_skim_decodes() -> None:
    class Plain:
        name, binary, subprotocol = "plain", False, None
        decode, decode_value = CODECS["json"].decode, CODECS["json"].decode_value
        encode, encode_value = CODECS["json"].encode, CODECS["json"].encode_value

    encoder = Encoder(Plain(), True, EventCounters(), max_values=40_000)
    payload = CODECS["json"].encode(Request("a://b", [1] * 50_000, "k"))
    encoder.check_count(payload)
    assert encoder.decode(payload) == encoder.peek(payload) == Request("a://b", [1] * 50_000, "k")
