from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.codec import CODECS
from mycelia.protocol.envelope import Event
from mycelia.protocol.frames import frame
from mycelia.websocket.dialect import Dialect
from tests.unit.websocket.support import FakeTransport, PlainTransport

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
