"""What is particular to JSON: its text forms, and the two prefilters over the bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response, ResponseMetadata
from mycelia.protocol.wire.json import JsonCodec

CODEC = JsonCodec()


def test_a_response_is_written_as_the_wire_language_shows_it() -> None:
    response = Response(True, {"n": 1}, "c", None, ResponseMetadata("t", 1234567890))
    assert CODEC.encode(response) == (
        b'{"success":true,"data":{"n":1},"correlationId":"c","error":null,'
        b'"metadata":{"traceId":"t","timestamp":1234567890}}'
    )
    assert CODEC.encode(Response(True)) == b'{"success":true,"data":null,"correlationId":null,"error":null}'


@pytest.mark.parametrize("correlation", [7, -(2**63), None, 1.5, ["a", {"b": 1}]])
def test_a_response_bears_any_correlation_id(correlation: Any) -> None:
    encoded = CODEC.encode(Response(True, None, correlation, None, ResponseMetadata("t", 1)))
    assert json.loads(encoded)["correlationId"] == correlation


def test_a_correlation_id_outside_of_the_data_model_is_named() -> None:
    for correlation in (2**63, float("nan")):
        with pytest.raises(InvalidMessage, match="correlationId"):
            CODEC.encode(Response(True, None, correlation, None, ResponseMetadata("t", 1)))


def test_bytes_become_base64_and_timestamps_text() -> None:
    moment = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    assert CODEC.encode(Event("e", [b"\x00\xff", bytearray(b"ab"), moment])) == (
        b'{"event":"e","data":["AP8=","YWI=","2024-02-29T12:00:00Z"]}'
    )


@pytest.mark.parametrize("length", [17, 18, 19, 20, 30])
@pytest.mark.parametrize("place", ["body", "colour", "metadata"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_of_every_length(length: int, place: str, sign: str) -> None:
    number = int(sign + "9" * length)
    value = {"n": number} if place == "metadata" else number
    payload = json.dumps({"path": "a://b", place: value}).encode()
    if -(2**63) <= number < 2**63:
        assert isinstance(CODEC.decode(payload), Request)
    else:
        with pytest.raises(ProtocolFault) as caught:
            CODEC.decode(payload)
        assert caught.value.code is Code.INVALID_JSON


@given(st.integers(2**63 - 3, 2**63 + 3), st.booleans(), st.lists(st.text(), max_size=3))
def test_no_integer_hides(number: int, negative: bool, around: list[str]) -> None:
    number = -number if negative else number
    payload = json.dumps({"path": "a://b", "body": [*around, number, *around]}).encode()
    if -(2**63) <= number < 2**63:
        assert CODEC.decode(payload) == Request("a://b", [*around, number, *around])
    else:
        with pytest.raises(ProtocolFault):
            CODEC.decode(payload)


@pytest.mark.parametrize("depth", [1, 62, 63, 64, 65, 200, 900, 100_000])
@pytest.mark.parametrize("before", ["", '"path":"a://b",', '"correlationId":1,"path":"a://b",'])
def test_depth_however_compact(depth: int, before: str) -> None:
    for opening, closing in (("[", "]"), ('{"":', "}")):
        inner = "1" if opening != "[" else ""
        payload = f'{{{before}"body":{opening * depth}{inner}{closing * depth}}}'.encode()
        if depth <= 63:
            assert isinstance(CODEC.decode(payload), Request)
        else:
            with pytest.raises(ProtocolFault, match="nested more than 64 deep") as caught:
                CODEC.decode(payload)
            assert caught.value.code is Code.INVALID_JSON


@pytest.mark.parametrize("leaf", ["1", '"]"', '"[{"', '"\\\\"', '"\\""', '"\\"]"', '"\\\\\\"]["', '""'])
@pytest.mark.parametrize("pair", ["[]", "{}", "mixed"])
@pytest.mark.parametrize("depth", [3, 31, 32, 33, 62, 63, 64, 127])
def test_depth_among_many_neighbours(depth: int, pair: str, leaf: str) -> None:
    """Too many brackets to tell by their number; strings full of brackets, quotes and backslashes around them."""
    value = leaf
    for level in range(depth - 1):
        value = f"[{value}]" if pair == "[]" or (pair == "mixed" and level % 2) else f'{{"k":{value}}}'
    neighbours = ",".join([leaf, '{"a":[]}', "[[],{}]"] * 60)
    payload = f'{{"path":"a://b","body":[{neighbours},{value},{neighbours}]}}'.encode()
    if depth + 1 <= 64:
        assert isinstance(CODEC.decode(payload), Request)
    else:
        with pytest.raises(ProtocolFault, match="nested more than 64 deep"):
            CODEC.decode(payload)


def test_the_answer_says_where_the_text_went_wrong() -> None:
    with pytest.raises(ProtocolFault) as caught:
        CODEC.decode(b'{"path":"a://b",x}')
    fault = caught.value
    assert fault.message.startswith("the message is not JSON: ")
    assert "byte 16" in fault.message
    assert fault.details == {"problem": fault.message}


@given(st.text(), st.text())
def test_any_json_writer_is_understood(path: str, body: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"path": path, "body": body}, ensure_ascii=ascii_only, indent=1)
        assert CODEC.decode(text.encode()) == Request(path, body)


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"1", 1), (b'"a"', "a"), (b"[]", []), (b"null", None), (b'{"path":1}', {"path": 1})],
)
def test_decode_value_takes_any_json(payload: bytes, value: Any) -> None:
    assert CODEC.decode_value(payload) == value
