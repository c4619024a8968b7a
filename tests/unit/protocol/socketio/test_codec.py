"""Envelopes as Socket.IO events and acks, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.socketio.attachments import join, split
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.socketio.packets import read_packet
from mycelia.protocol.wire.codec import CanSkim, Codec
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, Event, Fault, ProtocolFault, Request, Response, to_mapping

CODEC = SocketioCodec()
SILENT = {"noReply": True}


def packed(text: bytes, *pieces: bytes) -> bytes:
    return join([(text, False), *((piece, True) for piece in pieces)])


def test_it_is_a_codec() -> None:
    assert isinstance(CODEC, Codec) and isinstance(CODEC, CanSkim)


@pytest.mark.parametrize(
    ("payload", "envelope"),
    [
        (b'27["user://get/7"]', Request("user://get/7", None, 7)),
        (b'27["user://get",{"id":1}]', Request("user://get", {"id": 1}, 7)),
        (b'27["user://get",{"id":1},"more"]', Request("user://get", {"id": 1}, 7)),
        (b'2["user://get",1]', Request("user://get", 1, None, SILENT)),
        (b'2["message",{"path":"a://b","body":1,"correlationId":"c"}]', Request("a://b", 1, "c")),
        (b'2["message",{"event":"typing","data":1}]', Event("typing", 1)),
        (b'2["message",{"success":true,"data":1,"correlationId":"s-1"}]', Response(True, 1, "s-1")),
        (b'2["message",[1]]', Request(None, [1], None, SILENT)),
        (b'2["message"]', Request(None, None, None, SILENT)),
        (b"312[]", Response(True, None, "s-12")),
        (b'312["yes","more"]', Response(True, "yes", "s-12")),
        (b'312[{"success":true,"data":1}]', Response(True, 1, "s-12")),
        (
            b'312[{"success":false,"error":{"code":"NO","message":"no"}}]',
            Response(False, None, "s-12", Fault("NO", "no")),
        ),
        (b'312[{"success":false,"error":{}}]', Response(False, None, "s-12")),
        (b'312[{"success":"yes"}]', Response(True, {"success": "yes"}, "s-12")),
        (
            packed(b'51-3["a://b",{"file":{"_placeholder":true,"num":0}}]', b"\0\1"),
            Request("a://b", {"file": b"\0\1"}, 3),
        ),
    ],
)
def test_packets_as_envelopes(payload: bytes, envelope: Envelope) -> None:
    assert CODEC.decode(payload) == envelope
    assert isinstance(CODEC.decode_value(payload), dict)


@pytest.mark.parametrize(
    ("payload", "code", "id_"),
    [
        (b"25[7]", Code.INVALID_MESSAGE, 5),
        (b'25["a",18446744073709551616]', Code.INVALID_JSON, 5),
        (b'2["a",18446744073709551616]', Code.INVALID_JSON, None),
        (b'25["a",NaN]', Code.INVALID_JSON, 5),
        (b'25["a"', Code.INVALID_JSON, 5),
        (b'25["a"]x', Code.INVALID_JSON, 5),
        (packed(b'51-5["a"]', b"x"), Code.INVALID_MESSAGE, 5),
        (b'25["message",{"path":1}]', Code.INVALID_MESSAGE, 5),
    ],
)
def test_what_is_no_envelope_says_which_ack_waits(payload: bytes, code: Code, id_: int | None) -> None:
    with pytest.raises(ProtocolFault) as caught:
        CODEC.decode(payload)
    assert (caught.value.code, caught.value.correlation_id) == (code, id_)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b'21["a",{"n":[9223372036854775808]}]', r"\[1\]\.n\[0\]"),
        (b'21["a",{"n":}]', "not JSON: invalid character"),
        (b'21["a",' + b"[" * 70 + b"]" * 70 + b"]", "deep"),
    ],
)
def test_what_is_wrong_with_an_event_is_said_with_its_place(payload: bytes, problem: str) -> None:
    with pytest.raises(ProtocolFault, match=problem) as caught:
        SocketioCodec().decode(payload)
    assert (caught.value.code, caught.value.correlation_id) == (Code.INVALID_JSON, 1)


@pytest.mark.parametrize(
    ("envelope", "packet"),
    [
        (Event("notice", {"x": 1}), b'2["notice",{"x":1}]'),
        (Event("notice", 1, topic="t", offset=3), b'2["notice",1,{"topic":"t","offset":3}]'),
        (Event("disconnect", 1), b'2["message",{"event":"disconnect","data":1}]'),
        (Request("client://ask", 1, "s-9"), b'29["client://ask",1]'),
        (Request("connect", 1, "s-9"), b'2["message",{"path":"connect","body":1,"correlationId":"s-9"}]'),
        (Response(True, 1, 7), b'37[{"success":true,"data":1,"correlationId":7,"error":null}]'),
        (Response(True, 1, "c"), b'2["message",{"success":true,"data":1,"correlationId":"c","error":null}]'),
        (Response(True, 1), b'2["message",{"success":true,"data":1,"correlationId":null,"error":null}]'),
    ],
)
def test_envelopes_as_packets(envelope: Envelope, packet: bytes) -> None:
    assert CODEC.encode(envelope) == packet


def test_the_reply_to_a_whole_envelope_goes_into_its_ack() -> None:
    request = CODEC.decode(b'25["message",{"path":"a://b","correlationId":"c"}]')
    assert isinstance(request, Request) and request.path == "a://b"
    reply = CODEC.encode(Response(True, 1, request.correlation_id))
    assert reply == b'35[{"success":true,"data":1,"correlationId":"c","error":null}]'


@pytest.mark.parametrize(
    ("value", "packet"),
    [
        ({"event": "a", "data": 1}, b'2["a",1]'),
        ({"event": "a", "more": 1}, b'2["a",null,{"more":1}]'),
        ({"event": 1}, b'2["message",{"event":1}]'),
        ({"path": "a://b", "body": 1}, b'2["message",{"path":"a://b","body":1}]'),
        ({"success": True, "correlationId": 4}, b'34[{"success":true,"correlationId":4}]'),
        ([1], b'2["message",[1]]'),
    ],
)
def test_values_as_packets(value: object, packet: bytes) -> None:
    assert CODEC.encode_value(value) == packet


def test_what_cannot_be_encoded() -> None:
    with pytest.raises(InvalidMessage):
        CODEC.encode(Event("a", object()))


def test_bytes_are_attachments() -> None:
    packet = CODEC.encode(Event("a", {"x": [b"one", b""]}))
    assert split(packet) == [
        (b'52-["a",{"x":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]', False),
        (b"one", True),
        (b"", True),
    ]
    assert split(packet, "/b")[0][0].startswith(b'52-/b,["a",')
    assert split(b'27["a"]', "/b") == [(b'2/b,7["a"]', False)]


def test_a_large_packet_can_be_judged_before_it_is_decoded() -> None:
    payload = b'27["a",[1,2,3,4,5]]'
    assert CODEC.crowded(payload, 5) and not CODEC.crowded(payload, 20)
    assert CODEC.skim(payload) == Request("a", None, 7)
    assert CODEC.skim(b'2["a"]') == Request("a", None, None, SILENT)
    assert CODEC.skim(b'312["a"]') == Response(True, None, "s-12")
    assert CODEC.skim(b"abc") == Request()


bodies = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
paths = st.text().map(lambda text: f"app://{text}")


@given(paths, bodies, st.none() | st.integers(0, 2**53 - 1))
def test_requests_come_through(path: str, body: Any, id_: int | None) -> None:
    """What a client emits is what is decoded; the client here is the way out of our own."""
    value = CODEC.encode_value({"event": path, "data": body})
    text, *pieces = [payload for payload, _ in split(value)]
    packet = read_packet(text, 100)._replace(awaited=0, id=id_, attachments=tuple(pieces))
    assert CODEC.decode(packet.joined()) == Request(path, body, id_, SILENT if id_ is None else None)


def test_replies_in_short() -> None:
    codec = SocketioCodec()
    response = Response(True, {"a": [1, None]}, 7)
    assert codec.encode(response) == codec.encode_value(to_mapping(response))
    failed = Response(False, None, 7, Fault("NOT_FOUND", "no"))
    assert codec.encode(failed) == codec.encode_value(to_mapping(failed))
    assert codec.encode(Response(True, b"x", 7)).startswith(b"61-7[")


@pytest.mark.parametrize(
    "payload", [b"0", b"0[]", b'0["a"]', b"1", b'4"a"', b'2["connect"]', b"2[]", b"", b"x", b"31{}"]
)
def test_packets_that_are_no_event_and_no_ack_are_faults(payload: bytes) -> None:
    with pytest.raises(ProtocolFault):
        CODEC.decode(payload)
