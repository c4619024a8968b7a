"""Socket.IO packets: the examples of the protocol, what is none, and attachments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.packets import (
    MAX_SENT_ATTACHMENTS,
    RESERVED,
    SocketKind,
    SocketPacket,
    connect_error,
    connected,
    disconnect,
    is_namespace,
    is_plain_event,
    read_checked_packet,
    read_packet,
    write_packet,
)
from mycelia.protocol.wire.envelope import ProtocolFault

EVENT, ACK = SocketKind.EVENT, SocketKind.ACK
SID = b'{"sid":"oSO0OpakMV_3jnilAAAA"}'


def read(text: bytes, *attachments: bytes) -> SocketPacket:
    packet = read_packet(text, 10)
    assert packet.awaited == len(attachments)
    return packet._replace(awaited=0, attachments=attachments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", SocketPacket(SocketKind.CONNECT)),
        (b"0/admin,", SocketPacket(SocketKind.CONNECT, "/admin")),
        (b"0/admin", SocketPacket(SocketKind.CONNECT, "/admin")),
        (b"0/admin," + SID, SocketPacket(SocketKind.CONNECT, "/admin", data=SID)),
        (b'0{"token":"123"}', SocketPacket(SocketKind.CONNECT, data=b'{"token":"123"}')),
        (b"1", SocketPacket(SocketKind.DISCONNECT)),
        (b"1/admin,", SocketPacket(SocketKind.DISCONNECT, "/admin")),
        (b'2["foo"]', SocketPacket(EVENT, name="foo", data=b'["foo"]')),
        (b'2/admin,["bar"]', SocketPacket(EVENT, "/admin", name="bar", data=b'["bar"]')),
        (b'212["foo"]', SocketPacket(EVENT, id=12, name="foo", data=b'["foo"]')),
        (b'2/a,0["foo",1]', SocketPacket(EVENT, "/a", 0, "foo", b'["foo",1]')),
        (b"2[1]", SocketPacket(EVENT, name=1, data=b"[1]")),
        (b"2[1.5]", SocketPacket(EVENT, name=1.5, data=b"[1.5]")),
        (b'3/admin,13["bar"]', SocketPacket(ACK, "/admin", 13, data=b'["bar"]')),
        (b"313[]", SocketPacket(ACK, id=13, data=b"[]")),
        (b'4{"message":"no"}', SocketPacket(SocketKind.CONNECT_ERROR, data=b'{"message":"no"}')),
        (b'4"no"', SocketPacket(SocketKind.CONNECT_ERROR, data=b'"no"')),
        (b'50-["foo"]', SocketPacket(EVENT, name="foo", data=b'["foo"]')),
        ('2/ä b,["é"]'.encode(), SocketPacket(EVENT, "/ä b", name="é", data='["é"]'.encode())),
    ],
)
def test_packets_without_attachments(text: bytes, expected: SocketPacket) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "attachments", "namespace", "id_", "value"),
    [
        (b'51-["baz",{"_placeholder":true,"num":0}]', [b"\1\2"], "/", None, ["baz", b"\1\2"]),
        (
            b'52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            [b"\1", b"\2"],
            "/admin",
            None,
            ["baz", b"\1", b"\2"],
        ),
        (b'61-15["bar",{"_placeholder":true,"num":0}]', [b""], "/", 15, ["bar", b""]),
        (b'51-["a",{"b":[{"_placeholder":true,"num":0}]}]', [b"x"], "/", None, ["a", {"b": [b"x"]}]),
    ],
)
def test_packets_with_attachments(
    text: bytes, attachments: list[bytes], namespace: str, id_: int | None, value: list[Any]
) -> None:
    packet = read(text, *attachments)
    assert (packet.namespace, packet.id, packet.value()) == (namespace, id_, value)
    messages = write_packet(packet.kind, namespace, id_, value)
    assert messages == ((text, False), *((each, True) for each in attachments))


def test_placeholders_may_come_in_any_order() -> None:
    text = b'52-["a",{"_placeholder":true,"num":1},{"num":0,"_placeholder":true,"more":1}]'
    assert read(text, b"x", b"y").value() == ["a", b"y", b"x"]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"7", b"9[]", b"abc", b"-", b"/", b" 2[]", b'"2"', b"\xff",
        b"0[]", b'0"a"', b"0null", b"01", b"0{", b"012{}", b"0/a,1{}",
        b"1{}", b"1/a,{}", b"11",
        b"2", b"2{}", b"2[]", b'2"a"', b"2null", b"2[null]", b"2[true]", b"2[[]]", b"2[{}]", b'2["a"',
        b'2["a"]]', b"2[,]",
        b"2/a", b"2/a,", b'2/a["a"]', b'2-["a"]', b'21-["a"]', b'2abc["a"]', b'2,["a"]', b'2a["a"]', b'2 /a,["a"]',
        b'2["a",]', b'2["a" "b"]', b'2["a",NaN]',
        b'299999999999999999["a"]', b'29007199254740992["a"]',
        b"3[]", b"3/a,[]", b"31{}", b'31"a"', b"31",
        b"4", b"4[]", b"41", b"4null",
        b'5["a"]', b'5-["a"]', b'511-["a"]', b'51-', b'51-{}', b"51-[]", b'5a-["a"]', b'5-1-["a"]', b'59999999-["a"]',
        b'61-["a"]', b"61-1{}",
        b'2/\x00,["a"]', b'2/\xff,["a"]', '2/\u202e,["a"]'.encode(),
    ],
)  # fmt: skip
def test_what_is_no_packet(text: bytes) -> None:
    with pytest.raises(PacketFault):
        read_packet(text, 10)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_neither_read_nor_written(name: str) -> None:
    with pytest.raises(PacketFault, match="reserved"):
        read_packet(b'2["%b"]' % name.encode(), 10)
    with pytest.raises(InvalidMessage, match="reserved"):
        write_packet(EVENT, "/", None, [name])


@pytest.mark.parametrize(
    "placeholders",
    [
        b"1",
        b'{"_placeholder":true,"num":0}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":2}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":-1}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":"1"}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":true}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":1.0}',
        b'{"_placeholder":true,"num":0},{"_placeholder":true}',
        b'{"_placeholder":true,"num":0},{"_placeholder":1,"num":1}',
    ],
)
def test_each_attachment_has_one_place(placeholders: bytes) -> None:
    with pytest.raises(PacketFault, match="placeholder"):
        read(b'52-["a",' + placeholders + b"]", b"x", b"y").value()


def test_a_placeholder_without_attachments_is_an_object_like_others() -> None:
    value = ["a", {"_placeholder": True, "num": 0}]
    [(text, _)] = write_packet(EVENT, "/", None, value)
    assert read(text).value() == value
    with pytest.raises(InvalidMessage, match="_placeholder"):
        write_packet(EVENT, "/", None, [*value, b"x"])


def test_a_value_outside_the_data_model_is_told_when_it_is_decoded() -> None:
    for text in (b'2["a",18446744073709551616]', b'2["a",' + b"[" * 70 + b"]" * 70 + b"]", b'2["a","\xff"]'):
        with pytest.raises(ProtocolFault):
            read(text).value()


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises((PacketFault, ProtocolFault)):
        read(b'2["a",' + b"[" * 100_000 + b"]" * 100_000 + b"]").value()


def test_what_only_the_server_sends() -> None:
    assert connected("/", "x") == (b'0{"sid":"x"}', False)
    assert connected("/a", "x") == (b'0/a,{"sid":"x"}', False)
    assert connect_error("/random", "Invalid namespace") == (b'4/random,{"message":"Invalid namespace"}', False)
    assert connect_error("/", "no", {"code": 1}) == (b'4{"message":"no","data":{"code":1}}', False)
    assert disconnect("/") == (b"1", False)
    assert disconnect("/admin") == (b"1/admin,", False)


@pytest.mark.parametrize("values", [[], [1], [None], [b"a"], [["a"]]])
def test_an_event_has_a_name(values: list[Any]) -> None:
    with pytest.raises(InvalidMessage, match="name"):
        write_packet(EVENT, "/", None, values)


def test_only_events_and_acks_carry_values() -> None:
    with pytest.raises(ValueError, match="EVENT or ACK"):
        write_packet(SocketKind.CONNECT, "/", None, [])


def test_values_are_made_plain() -> None:
    messages = write_packet(ACK, "/", 1, ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, bytearray(b"x")))
    assert messages == ((b'61-1[{"at":"2026-01-01T00:00:00Z"},{"_placeholder":true,"num":0}]', False), (b"x", True))
    with pytest.raises(InvalidMessage):
        write_packet(ACK, "/", 1, [float("nan")])


@pytest.mark.parametrize(
    ("name", "right"),
    [("/", True), ("/a", True), ("/a/b", True), ("a", False), ("", False), ("/a,b", False), ("/\n", False)],
)
def test_names_of_namespaces(name: str, right: bool) -> None:
    assert is_namespace(name) is right


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
names = st.text().filter(lambda name: name not in RESERVED)
values = st.recursive(
    scalars | st.text() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
namespaces = st.text().map(lambda text: "/" + "".join(each for each in text if each.isprintable() and each != ","))
ids = st.none() | st.integers(0, 2**53 - 1)


def binaries(value: object) -> int:
    """How many attachments a value needs."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(binaries, parts)) + isinstance(value, bytes)


@given(names, st.lists(values, max_size=4), namespaces, ids)
def test_events_come_back(name: str, given_values: list[Any], namespace: str, id_: int | None) -> None:
    assume(binaries(given_values) <= 10)  # clients take no more
    messages = write_packet(EVENT, namespace, id_, [name, *given_values])
    packet = read_packet(messages[0][0], 100)
    assert packet.awaited == len(messages) - 1
    packet = packet._replace(attachments=tuple(payload for payload, _ in messages[1:]))
    assert (packet.kind, packet.namespace, packet.id, packet.name) == (EVENT, namespace, id_, name)
    assert packet.value() == [name, *given_values]


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_packet_or_are_refused(text: bytes) -> None:
    try:
        packet = read_packet(text, 10)
    except PacketFault:
        return
    assert packet.kind in (SocketKind.CONNECT, SocketKind.DISCONNECT, EVENT, ACK, SocketKind.CONNECT_ERROR)


@given(
    st.lists(st.sampled_from([b"2", b"5", b"1-", b"/a,", b"12", b"[", b'"a"', b"]", b",", b"{}", b"0"])).map(b"".join)
)
def test_any_pieces_of_packets_are_one_or_are_refused(text: bytes) -> None:
    test_any_bytes_are_a_packet_or_are_refused.hypothesis.inner_test(text)  # type: ignore[attr-defined]


@given(
    st.binary(max_size=40).map(lambda tail: b"2" + tail) | st.sampled_from([b'2["a"]', b'27["a",1]', b'2["connect"]'])
)
def test_in_short_as_at_length(text: bytes) -> None:
    try:
        packet = read_packet(text, 8)
    except PacketFault:
        assert not is_plain_event(text)
        return
    if is_plain_event(text):
        assert (packet.kind, packet.namespace, packet.awaited) == (SocketKind.EVENT, "/", 0)
    else:
        assert packet.namespace != "/" or (packet.id or 0) >= 10**15


def test_binary_values_are_bounded() -> None:
    messages = write_packet(SocketKind.EVENT, "/", None, ["a", [b"x"] * MAX_SENT_ATTACHMENTS])
    assert len(messages) == MAX_SENT_ATTACHMENTS + 1
    with pytest.raises(InvalidMessage, match="at most 10 binary values"):
        write_packet(SocketKind.ACK, "/", 1, [[b"x"] * (MAX_SENT_ATTACHMENTS + 1)])


@pytest.mark.parametrize("text", [b'2/a,7["a",1]', b"37[]", b"1/a,", b'51-["a",{"_placeholder":true,"num":0}]'])
def test_a_checked_packet_is_read_as_before_but_for_its_name(text: bytes) -> None:
    attachments = (b"x",) * (text[:1] == b"5")
    assert read_checked_packet(text, attachments) == read(text, *attachments)._replace(name=None)
    with pytest.raises(PacketFault):
        read_checked_packet(b"x" + text, attachments)
