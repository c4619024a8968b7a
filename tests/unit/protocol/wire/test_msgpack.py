"""What is particular to MessagePack: binary, timestamps, and all that the data model leaves out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request
from mycelia.protocol.wire.msgpack import MsgpackCodec

CODEC = MsgpackCodec()


@given(
    st.recursive(
        st.binary() | st.datetimes(timezones=st.just(UTC)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_binary_and_timestamps_survive(value: object) -> None:
    assert CODEC.decode(CODEC.encode(Event("e", value))) == Event("e", value)
    assert CODEC.decode_value(CODEC.encode_value(value)) == value


def test_a_timestamp_keeps_its_moment_not_its_zone() -> None:
    moment = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    decoded = CODEC.decode_value(CODEC.encode_value(moment))
    assert decoded == moment
    assert isinstance(decoded, datetime)
    assert decoded.utcoffset() == timedelta(0)


def test_buffers_are_binary() -> None:
    assert CODEC.decode(CODEC.encode(Request("a://b", [bytearray(b"x"), memoryview(b"y")]))) == Request(
        "a://b", [b"x", b"y"]
    )


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (b"\xc0\xc0", "trailing"),
        (b"\x81\x80\x01", "hashable"),
        (b"\xa1\xff", "not UTF-8"),
        (b"\x91" * 5000 + b"\xc0", "nested more than 64 deep"),
        (b"\x91" * 65 + b"\xc0", "nested more than 64 deep"),
        (b"\x91\x81\x01\x02", "$[0]: expected string keys, got the integer 1"),
        (b"\x81\xa1a\xd4\x05\x01", "$.a: a value of type Ext is outside the data model"),
        (b"\xcb\x7f\xf8\0\0\0\0\0\0", "$: expected a finite number"),
        (b"\xcf" + b"\xff" * 8, "$: expected an integer"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_outside_the_model_is_an_invalid_message(payload: bytes, problem: str) -> None:
    for decode in (CODEC.decode, CODEC.decode_value):
        with pytest.raises(ProtocolFault) as caught:
            decode(payload)
        assert caught.value.code is Code.INVALID_MESSAGE
        assert problem in caught.value.message
        assert caught.value.details == {"problem": caught.value.message}
