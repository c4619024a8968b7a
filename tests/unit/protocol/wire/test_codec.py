"""Both codecs carry one data model; whoever adds a third gets found."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import ConfigError, InvalidMessage
from mycelia.protocol.wire.codec import CODECS, CanSkim, Codec, codec, subprotocols
from mycelia.protocol.wire.envelope import (
    Envelope,
    Event,
    Fault,
    ProtocolFault,
    Request,
    Response,
    ResponseMetadata,
    from_mapping,
    to_mapping,
)
from mycelia.protocol.wire.value import MAX_INTEGER, MIN_INTEGER, fits
from tests.support.names import shown

both = pytest.mark.parametrize("used", CODECS.values(), ids=CODECS)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
METADATA = st.none() | st.dictionaries(st.text(), VALUES, max_size=3)
FAULTS = st.builds(Fault, st.text(), st.text(), VALUES, st.booleans())
REQUESTS = st.builds(Request, st.none() | st.text(), VALUES, VALUES, METADATA)
RESPONSES = st.builds(Response, st.booleans(), VALUES, VALUES, st.none() | FAULTS, METADATA)
EVENTS = st.builds(
    Event,
    st.text(),
    VALUES,
    st.none() | st.text(),
    st.none() | st.integers(0, MAX_INTEGER),
    st.none() | st.text(),
    METADATA,
)
ENVELOPES = REQUESTS | RESPONSES | EVENTS


@both
@given(envelope=ENVELOPES)
def test_an_envelope_survives(used: Codec, envelope: Envelope) -> None:
    payload = used.encode(envelope)
    assert used.decode(payload) == envelope
    assert used.encode_value(to_mapping(envelope)) == payload
    assert from_mapping(used.decode_value(payload)) == envelope


@both
@given(value=VALUES)
def test_a_value_survives(used: Codec, value: object) -> None:
    assert used.decode_value(used.encode_value(value)) == value


@given(envelope=ENVELOPES)
def test_both_codecs_say_the_same(envelope: Envelope) -> None:
    decoded = [used.decode(used.encode(envelope)) for used in CODECS.values()]
    assert decoded[0] == decoded[1]


KEYS = st.sampled_from(["path", "success", "event", "body", "data", "error", "correlationId", "metadata"])
LOOSE = st.dictionaries(KEYS | st.sampled_from(["topic", "offset", "epoch", "colour"]), VALUES, max_size=5)


@both
@given(value=LOOSE | VALUES | st.builds(lambda key, rest: {key: "x"} | rest, KEYS, LOOSE))
def test_the_fast_way_and_the_full_check_agree(used: Codec, value: object) -> None:
    payload = used.encode_value(value)
    assert outcome(used.decode, payload) == outcome(lambda payload: from_mapping(used.decode_value(payload)), payload)


def outcome(decode: Any, payload: bytes) -> object:
    try:
        return decode(payload)
    except ProtocolFault as fault:
        return fault.code, fault.message, fault.details, fault.correlation_id


@both
@given(payload=st.binary(max_size=40))
def test_noise_is_refused_or_understood(used: Codec, payload: bytes) -> None:
    try:
        value = used.decode_value(payload)
    except ProtocolFault as fault:
        assert fault.code in ("INVALID_JSON", "INVALID_MESSAGE")
    else:
        assert fits(value)


@both
@given(envelope=ENVELOPES, data=st.data())
def test_a_message_cut_short_is_refused(used: Codec, envelope: Envelope, data: st.DataObject) -> None:
    payload = used.encode(envelope)
    with pytest.raises(ProtocolFault):
        used.decode(payload[: data.draw(st.integers(0, len(payload) - 1))])


@dataclass
class Point:
    x: object


@both
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (math.nan, "$.data: expected a finite number"),
        ({"a": [1.0, -math.inf]}, "$.data.a[1]: expected a finite number"),
        (2**63, "$.data: expected an integer"),
        ({1: 2}, "$.data: expected string keys"),
        ("\ud800", "$.data: a lone surrogate"),
        ({"\ud800": 1}, r"$.data.'\ud800': a lone surrogate"),
        (object(), "$.data: a value of type object"),
        ([Point(math.nan)], "$.data[0].x: expected a finite number"),
        ([Point(len)], "$.data[0]: a value of type Point cannot be encoded"),
    ],
    ids=shown,
)
def test_what_cannot_be_encoded_is_named(used: Codec, data: object, place: str) -> None:
    for envelope in (Response(True, data, 1), Event("e", data)):
        with pytest.raises(InvalidMessage) as caught:
            used.encode(envelope)
        assert caught.value.problem.startswith(place)
    with pytest.raises(InvalidMessage) as caught:
        used.encode_value({"data": data})
    assert caught.value.problem.startswith(place)


@both
def test_surrogates_are_found_in_typed_fields(used: Codec) -> None:
    for envelope, place in (
        (Request("\ud800"), "$.path"),
        (Response(True, metadata=ResponseMetadata("\ud800", 1)), "$.metadata.traceId"),
        (Event("e", topic="\ud800"), "$.topic"),
        (Response(False, error=Fault("\ud800", "m")), "$.error.code"),
    ):
        with pytest.raises(InvalidMessage) as caught:
            used.encode(envelope)
        assert caught.value.problem.startswith(place)


@both
def test_the_depth_counts_the_envelope(used: Codec) -> None:
    body: list[Any] = []
    for _ in range(62):
        body = [body]
    assert used.decode(used.encode(Request("a://b", body))) == Request("a://b", body)
    assert used.decode(used.encode(Response(True, body))) == Response(True, body)
    with pytest.raises(InvalidMessage, match="nested more than 64 deep"):
        used.encode(Request("a://b", [body]))
    error = Fault("X", "m", body)
    with pytest.raises(InvalidMessage, match="nested more than 64 deep"):
        used.encode(Response(False, None, 1, error))


@both
def test_foreign_objects_reach_the_wire(used: Codec) -> None:
    assert used.decode(used.encode(Response(True, Point((1, Point("a")))))) == Response(True, {"x": [1, {"x": "a"}]})


def test_our_codecs() -> None:
    assert codec("json") is CODECS["json"]
    assert {name: (found.name, found.binary, found.subprotocol) for name, found in CODECS.items()} == {
        "json": ("json", False, "mycelia.v1.json"),
        "msgpack": ("msgpack", True, "mycelia.v1.msgpack"),
    }
    assert subprotocols() == {"mycelia.v1.json": CODECS["json"], "mycelia.v1.msgpack": CODECS["msgpack"]}
    assert list(subprotocols(["msgpack", "json"])) == ["mycelia.v1.msgpack", "mycelia.v1.json"]
    assert subprotocols([]) == {}


THIRD_PARTY = """
class Silent:
    name, binary, subprotocol = "silent", True, None
    def decode(self, payload): ...
    def decode_value(self, payload): ...
    def encode(self, envelope): return b""
    def encode_value(self, value): return b""

ready = Silent()
wrong = 5
"""
ENTRIES = """[mycelia.codecs]
silent = third_party_codec:Silent
ready = third_party_codec:ready
wrong = third_party_codec:wrong
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that brings codecs."""
    (tmp_path / "third_party_codec.py").write_text(THIRD_PARTY)
    info = tmp_path / "third_party_codec-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-codec\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("third_party")
def test_third_party_codecs_are_found_by_entry_point() -> None:
    assert codec("silent").name == "silent"
    assert codec("ready").encode_value(1) == b""
    assert subprotocols(["silent", "json"]) == {"mycelia.v1.json": CODECS["json"]}
    with pytest.raises(ConfigError, match="no codec but int"):
        codec("wrong")
    with pytest.raises(ConfigError, match="expected one of json, msgpack, ready, silent, wrong, got 'cbor'"):
        codec("cbor")


def test_an_unknown_codec_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="json, msgpack") as caught:
        codec("cbor")
    assert caught.value.key == "codec"


def count(value: Any) -> int:
    """The values in a value, itself included; an empty container counts twice."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + (not value) + sum(map(count, inner))
    return 1


TRICKY = st.sampled_from(['"', "\\", '\\"', ",[{", '"",', "\\\\", "]}", "\u2028"])
ODD = st.recursive(
    VALUES | TRICKY, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text() | TRICKY, inner, max_size=6)
)


@both
@given(value=ODD)
def test_values_are_counted_without_decoding(used: Codec, value: Any) -> None:
    assert isinstance(used, CanSkim)
    payload, number = used.encode_value([value]), 1 + count(value)
    assert not used.crowded(payload, number)
    assert used.crowded(payload, number - 1)


@given(value=ODD)
def test_spaces_and_escapes_do_not_change_the_count(value: Any) -> None:
    used = CODECS["json"]
    assert isinstance(used, CanSkim)
    for indent in (None, 3):
        payload, number = json.dumps([value], indent=indent).encode(), 1 + count(value)
        assert not used.crowded(payload, number) and used.crowded(payload, number - 1)


@pytest.mark.parametrize(
    "item",
    [
        b"\xc4\x02\x92\x92", b"\xc5\x00\x01\x92", b"\xc6\x00\x00\x00\x01\x92",  # binary
        b"\xc7\x02\x05\x92\x92", b"\xc8\x00\x01\x05\x92", b"\xc9\x00\x00\x00\x01\x05\x92",  # extensions
        b"\xd4\x05\x92", b"\xd5\x05\x92\x92", b"\xd6\x05" + b"\x92" * 4, b"\xd7\x05" + b"\x92" * 8,
        b"\xd8\x05" + b"\x92" * 16,
        b"\xd9\x01a", b"\xda\x00\x01a", b"\xdb\x00\x00\x00\x01a", b"\xa2ab",  # texts
        b"\xca\x92\x92\x92\x92", b"\xcb" + b"\x92" * 8,  # numbers
        b"\xcc\x92", b"\xcd\x92\x92", b"\xce" + b"\x92" * 4, b"\xcf" + b"\x92" * 8,
        b"\xd0\x92", b"\xd1\x92\x92", b"\xd2" + b"\x92" * 4, b"\xd3" + b"\x92" * 8,
        b"\x00", b"\x7f", b"\xe0", b"\xff", b"\xc0", b"\xc2", b"\xc3",
        b"\x91\x01", b"\xdc\x00\x01\x01", b"\xdd\x00\x00\x00\x01\x01",  # arrays and maps of one
        b"\x81\xa0\x01", b"\xde\x00\x01\xa0\x01", b"\xdf\x00\x00\x00\x01\xa0\x01",
    ],
)  # fmt: skip
def test_every_format_of_messagepack_is_stepped_over(item: bytes) -> None:
    used = CODECS["msgpack"]
    assert isinstance(used, CanSkim)
    number = 3 * (2 if item[0] in (0x91, 0xDC, 0xDD, 0x81, 0xDE, 0xDF) else 1) + 1
    payload = b"\x93" + item * 3
    assert not used.crowded(payload, number) and used.crowded(payload, number - 1)
    assert not used.crowded(payload + b"\x93\x01\x01\x01" * 20, number), "what comes after it is no part of it"


@both
@given(payload=st.binary(max_size=80), most=st.integers(1, 20))
def test_what_is_no_message_can_be_counted_and_skimmed(used: Codec, payload: bytes, most: int) -> None:
    assert isinstance(used, CanSkim)
    assert used.crowded(payload, most) in (True, False)
    assert isinstance(used.skim(payload), Request | Response | Event)


@both
@given(envelope=ENVELOPES, key=st.none() | st.text() | st.integers(0, 1000), silent=st.booleans())
def test_an_outline_tells_what_an_envelope_is_and_finds_its_answer(
    used: Codec, envelope: Envelope, key: Any, silent: bool
) -> None:
    assert isinstance(used, CanSkim)
    mapping = to_mapping(envelope)
    if not isinstance(envelope, Event):
        mapping["correlationId"] = key
    mapping["metadata"] = {"noReply": silent, "more": [1]}
    outline = used.skim(used.encode_value(mapping))
    assert type(outline) is type(envelope)
    if not isinstance(outline, Event):
        assert outline.correlation_id == key
    if isinstance(outline, Request):
        assert isinstance(envelope, Request) and outline.path == envelope.path and outline.body is None
        assert outline.metadata == ({"noReply": True} if silent else None)
