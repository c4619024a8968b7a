"""One client's namespaces: joining and leaving, events and acks both ways, packets in pieces."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.namespaces import (
    AckReceived,
    ConnectRequested,
    EventReceived,
    NamespaceLeft,
    NamespaceLimits,
    Namespaces,
)

TWO = b'52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


def joined(*names: str, limits: NamespaceLimits | None = None) -> Namespaces:
    client = Namespaces(limits or NamespaceLimits(), 0.0)
    for name in names or ("/",):
        text = b"0" if name == "/" else b"0%b," % name.encode()
        assert client.receive(text, False, 0.0) == ConnectRequested(name, {})
        assert client.accept(name, "x")
    return client


def called(client: Namespaces, payload: bytes, binary: bool = False) -> EventReceived:
    event = client.receive(payload, binary, 1.0)
    assert isinstance(event, EventReceived)
    return event


# -- joining and leaving -----------------------------------------------------------------------------------


def test_a_client_joins_with_what_it_brings() -> None:
    client = Namespaces(NamespaceLimits(), 0.0)
    assert client.receive(b'0/admin,{"token":"123"}', False, 1.0) == ConnectRequested("/admin", {"token": "123"})
    assert not client.is_connected("/admin")
    assert client.accept("/admin", "x") == ((b'0/admin,{"sid":"x"}', False),)
    assert client.is_connected("/admin")
    assert client.accept("/admin", "x") == ()


def test_a_client_that_is_refused_may_ask_again() -> None:
    client = Namespaces(NamespaceLimits(), 0.0)
    client.receive(b"0", False, 1.0)
    assert client.due == inf
    assert client.reject("/", 2.0, "no", {"code": 1}) == ((b'4{"message":"no","data":{"code":1}}', False),)
    assert client.reject("/", 2.0, "no") == ()
    assert client.due == 45.0  # no refusal gives it more time
    assert client.receive(b"0", False, 3.0) == ConnectRequested("/", {})


def test_who_joins_nothing_is_out_of_time() -> None:
    client = Namespaces(NamespaceLimits(connect_timeout=5.0), 1.0)
    assert client.due == 6.0
    client.check_timeout(5.9)
    with pytest.raises(PacketFault, match="CONNECT within 5 s"):
        client.check_timeout(6.0)
    client = joined()
    client.check_timeout(1000.0)
    assert client.receive(b"1", False, 10.0) == NamespaceLeft("/")
    assert client.due == 55.0


@pytest.mark.parametrize(
    "text", [b'2["a"]', b"31[]", b"1", b'4{"message":"no"}', b'51-["a"]', b'2/b,["a"]', b"abc", b"2{}", b""]
)
def test_connect_comes_first(text: bytes) -> None:
    with pytest.raises(PacketFault):
        Namespaces(NamespaceLimits(), 0.0).receive(text, False, 1.0)


@pytest.mark.parametrize(
    "text",
    [b'2/b,["a"]', b"1/b,", b"0", b'4{"message":"no"}', b"2{}", b'2abc["a"]', b'51-/b,["a"]', b"0/" + b"a" * 128],
)
def test_what_may_not_come_later(text: bytes) -> None:
    with pytest.raises(PacketFault):
        joined().receive(text, False, 1.0)


@pytest.mark.parametrize("text", [b'2["a"]', b"0", b"31[]"])
def test_nothing_may_come_before_the_answer(text: bytes) -> None:
    client = Namespaces(NamespaceLimits(), 0.0)
    client.receive(b"0", False, 1.0)
    with pytest.raises(PacketFault):
        client.receive(text, False, 1.0)


def test_who_leaves_before_the_answer_is_gone() -> None:
    client = Namespaces(NamespaceLimits(), 0.0)
    client.receive(b"0", False, 1.0)
    assert client.receive(b"1", False, 1.0) == NamespaceLeft("/")
    assert client.accept("/", "x") == ()


def test_auth_outside_the_data_model_is_refused() -> None:
    with pytest.raises(PacketFault, match="CONNECT"):
        Namespaces(NamespaceLimits(), 0.0).receive(b'0{"a":18446744073709551616}', False, 1.0)


def test_namespaces_are_bounded() -> None:
    client = joined("/", "/a", limits=NamespaceLimits(namespaces=2))
    with pytest.raises(PacketFault) as caught:
        client.receive(b"0/b,", False, 1.0)
    assert caught.value.close_code == 1008


def test_one_namespace_is_left_and_another_stays() -> None:
    client = joined("/", "/custom")
    assert client.receive(b"1/custom", False, 1.0) == NamespaceLeft("/custom")
    assert client.emit("/custom", ["a"]) == ()
    assert client.acknowledge("/custom", 1, []) == ()
    assert client.due == inf
    assert called(client, b'2["a"]').packet.namespace == "/"


def test_what_was_on_its_way_when_the_server_left_is_dropped() -> None:
    client = joined("/", "/a")
    assert client.disconnect("/a", 1.0) == ((b"1/a,", False),)
    assert client.disconnect("/a", 1.0) == ()
    assert not client.is_connected("/a")
    assert client.receive(b'2/a,["a"]', False, 1.0) is None
    assert client.receive(b"3/a,0[]", False, 1.0) is None
    assert client.receive(b'51-/a,["a",{"_placeholder":true,"num":0}]', False, 1.0) is None
    assert client.receive(b"x", True, 1.0) is None
    assert client.receive(b"1/a,", False, 1.0) is None
    assert client.receive(b"0/a,", False, 1.0) == ConnectRequested("/a", {})


def test_leaving_the_last_namespace_starts_the_clock() -> None:
    client = joined()
    client.disconnect("/", 10.0)
    assert client.due == 55.0
    assert client.receive(b"0", False, 11.0) == ConnectRequested("/", {})
    assert client.due == inf


# -- events and acks ---------------------------------------------------------------------------------------


def test_an_event_and_its_answer() -> None:
    client = joined()
    packet = called(client, b'2456["message-with-ack",1,"2",{"3":[false]}]').packet
    assert packet.name == "message-with-ack" and packet.id == 456
    assert client.acknowledge("/", 456, packet.value()[1:]) == ((b'3456[1,"2",{"3":[false]}]', False),)


def test_an_event_of_the_server() -> None:
    client = joined("/a")
    assert client.emit("/a", ["auth", {}]) == ((b'2/a,["auth",{}]', False),)
    assert client.emit("/", ["auth"]) == ()
    with pytest.raises(InvalidMessage):
        client.emit("/a", ["disconnect"])


def test_an_ack_of_the_clients() -> None:
    """Whether anybody waits for it is for others to know."""
    event = joined().receive(b"31[1]", False, 1.0)
    assert isinstance(event, AckReceived) and event.packet.id == 1 and event.packet.value() == [1]


# -- packets in pieces -------------------------------------------------------------------------------------


def test_a_packet_comes_with_its_last_attachment() -> None:
    client = joined()
    assert client.receive(TWO, False, 1.0) is None
    assert client.receive(b"x", True, 1.0) is None
    assert client.held_bytes == len(TWO) + 1
    assert called(client, b"y", True).packet.value() == ["a", b"x", b"y"]
    assert client.held_bytes == 0
    assert called(client, b'2["a"]').packet.value() == ["a"]


def test_an_ack_with_attachments() -> None:
    client = joined()
    assert client.receive(b'61-0[{"_placeholder":true,"num":0}]', False, 1.0) is None
    event = client.receive(b"x", True, 1.0)
    assert isinstance(event, AckReceived) and event.packet.value() == [b"x"]


def test_pieces_out_of_place() -> None:
    client = joined()
    with pytest.raises(PacketFault, match="attachment of no packet"):
        client.receive(b"x", True, 1.0)
    client = joined()
    client.receive(TWO, False, 1.0)
    with pytest.raises(PacketFault, match="2 more attachments"):
        client.receive(b'2["a"]', False, 1.0)


def test_a_packet_is_bounded_with_all_its_pieces() -> None:
    client = joined(limits=NamespaceLimits(packet_bytes=100))
    client.receive(TWO, False, 1.0)
    client.receive(bytes(100 - len(TWO)), True, 1.0)
    for _ in range(2):
        with pytest.raises(PacketFault) as caught:
            client.receive(b"x", True, 1.0)
        assert caught.value.close_code == 1009
    with pytest.raises(PacketFault):
        joined(limits=NamespaceLimits(attachments=1)).receive(TWO, False, 1.0)
    with pytest.raises(PacketFault):
        joined(limits=NamespaceLimits(packet_bytes=10)).receive(b'2["%b"]' % (b"a" * 10), False, 1.0)


pieces = st.sampled_from(
    [
        b"0",
        b"0/a,",
        b"1",
        b"1/a,",
        b'2["a"]',
        b'2/a,1["a",{}]',
        TWO,
        b"30[]",
        b'61-0[{"_placeholder":true,"num":0}]',
        b"x",
    ]
)


@given(st.lists(st.tuples(pieces, st.booleans() | st.none()), max_size=30))
def test_any_messages_mean_something_or_are_refused(messages: list[tuple[bytes, bool | None]]) -> None:
    """None stands for a move of the server's instead of a message."""
    client = Namespaces(NamespaceLimits(packet_bytes=200, namespaces=2), 0.0)
    there: set[str] = set()
    for payload, binary in messages:
        if binary is None:
            client.disconnect("/a", 1.0)
            there.discard("/a")
            assert len(client.emit("/", ["a", payload])) == 2 * ("/" in there)
            continue
        try:
            event = client.receive(payload, binary, 1.0)
        except PacketFault:
            return
        assert client.held_bytes <= 200
        match event:
            case ConnectRequested():
                assert event.namespace not in there
                client.accept(event.namespace, "x")
                there.add(event.namespace)
            case NamespaceLeft():
                there.discard(event.namespace)
            case EventReceived() | AckReceived():
                assert event.packet.namespace in there
        assert {name for name in ("/", "/a") if client.is_connected(name)} == there


def test_what_passes_is_an_event_for_the_main_namespace() -> None:
    client = Namespaces(NamespaceLimits(packet_bytes=100), 0.0)
    assert not client.is_plain_event(b'2["a"]')
    client.receive(b"0", False, 0.0)
    assert not client.is_plain_event(b'2["a"]')  # it is not answered yet
    client.accept("/", "sid")
    assert client.is_plain_event(b'2["a"]') and client.is_plain_event(b'27["a",{}]')
    for text in (
        b'2/admin,["a"]',
        b'3["a"]',
        b'51-["a"]',
        b"2[]",
        b'2["disconnect"]',
        b"1",
        b'2["' + b"a" * 100 + b'"]',
    ):
        assert not client.is_plain_event(text)
    client.receive(b'51-["a",{"_placeholder":true,"num":0}]', False, 0.0)
    assert not client.is_plain_event(b'2["a"]')  # an attachment is to come


def test_what_connect_brings_is_bounded() -> None:
    client = Namespaces(NamespaceLimits(auth_bytes=20), 0.0)
    with pytest.raises(PacketFault, match="1009"):
        client.receive(b'0{"token":"' + b"x" * 20 + b'"}', False, 0.0)
