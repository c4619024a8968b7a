"""The life of an Engine.IO session, told as what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.actions import (
    Action,
    CloseWebSocket,
    Ended,
    EndReason,
    Heartbeat,
    Received,
    Respond,
    Write,
    reject,
)
from mycelia.protocol.engineio.packets import read_payload
from mycelia.protocol.engineio.requests import ErrorResponse
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.engineio.settings import Settings

SETTINGS = Settings(ping_interval=25.0, ping_timeout=20.0)
OVERLAP = Ended(EndReason.OVERLAP, 1002, EndReason.OVERLAP.reason)
GONE = ErrorResponse.UNKNOWN_SESSION


def polling(terms: Settings = SETTINGS) -> Session:
    session = Session("sid", terms, 0.0)
    [opened] = session.open_polling("open")
    assert isinstance(opened, Respond)
    assert opened.status == 200 and opened.body[:1] == b"0" and json.decode(opened.body[1:])["sid"] == "sid"
    return session


def in_websocket(terms: Settings = SETTINGS) -> Session:
    session = Session("sid", terms, 0.0)
    [opened] = session.open_websocket("ws")
    assert isinstance(opened, Write)
    assert json.decode(opened.payload[1:])["upgrades"] == []
    return session


def upgraded() -> Session:
    session = polling()
    assert session.begin_upgrade("ws", 1.0) == []
    assert session.frame("ws", b"2probe", False, 1.0) == [Write("ws", b"3probe", False)]
    assert session.frame("ws", b"5", False, 1.0) == []
    assert session.direct_websocket == "ws"
    return session


# -- messages ----------------------------------------------------------------------------------------------


def test_a_post_brings_messages_and_is_answered_ok() -> None:
    session = polling()
    assert session.post("post", 1.0) == []
    assert session.body("post", b"4a\x1ebAQ==\x1e3", 1.0) == [
        Received(b"a", False),
        Received(b"\1", True),
        Heartbeat(),
        Respond("post", 200, b"ok"),
    ]
    assert session.post("next", 1.0) == []


def test_a_get_takes_what_waits_or_waits_itself() -> None:
    session = polling()
    assert session.send(b"a", False) == []
    assert session.send(b"\1", True) == []
    assert session.buffered > 0
    assert session.get("get", 1.0) == [Respond("get", 200, b"4a\x1ebAQ==")]
    assert session.buffered == 0
    assert session.get("next", 1.0) == []
    assert session.send(b"b", False) == [Respond("next", 200, b"4b")]


def test_what_is_sent_together_leaves_together() -> None:
    session = polling()
    session.get("get", 1.0)
    assert session.send(b"a", False, more=True) == []
    assert session.send(b"b", False, more=True) == []
    assert session.flush() == [Respond("get", 200, b"4a\x1e4b")]
    assert session.flush() == []


def test_a_response_never_holds_more_than_16_packets() -> None:
    session = polling()
    for number in range(40):
        session.send(b"%d" % number, False)
    sizes = []
    for number in range(3):
        [reply] = session.get(f"get{number}", 1.0)
        assert isinstance(reply, Respond)
        sizes.append(len(read_payload(reply.body, 1000, 16)))
    assert sizes == [16, 16, 8]


def test_messages_in_a_websocket() -> None:
    session = in_websocket()
    assert session.frame("ws", b"4a", False, 1.0) == [Received(b"a", False)]
    assert session.frame("ws", b"\1", True, 1.0) == [Received(b"\1", True)]
    assert session.send(b"a\x1eb", False) == [Write("ws", b"4a\x1eb", False)]
    assert session.send(b"\1", True) == [Write("ws", b"\1", True)]
    assert session.frame("another", b"4a", False, 1.0) == []


def test_messages_in_short() -> None:
    session = in_websocket(Settings(max_payload_bytes=10))
    assert session.direct_websocket == "ws" and session.plain_message("ws", b"4abc") == b"abc"
    for text in (b"3", b"", b"x", b"4" * 11):
        assert session.plain_message("ws", text) is None
    assert session.plain_message("another", b"4abc") is None
    session.close(1.0)
    assert session.direct_websocket is None and session.plain_message("ws", b"4abc") is None
    assert polling().direct_websocket is None


def test_no_short_way_for_what_is_the_awaited_sign_of_life() -> None:
    session = in_websocket()
    session.tick(25.0)
    assert session.plain_message("ws", b"4abc") is None
    assert session.frame("ws", b"4abc", False, 26.0) == [Received(b"abc", False)]
    assert session.due == 51.0 and session.plain_message("ws", b"4abc") == b"abc"


def test_the_get_that_a_close_has_overtaken_is_answered_once() -> None:
    session = polling()
    session.post("post", 1.0)
    out = session.body("post", b"1", 1.0)
    assert Respond("post", 200, b"ok") in out and session.expects_last_get
    assert session.get("get", 1.0) == [Respond("get", 200, b"6")]
    assert session.get("next", 1.0) == [reject("next", GONE)]


def test_http_cannot_carry_a_separator() -> None:
    session = polling()
    with pytest.raises(InvalidMessage, match="0x1E"):
        session.send(b"a\x1eb", False)
    session.send(b"a\x1eb", True)


def test_who_does_not_fetch_is_dropped_at_the_bound() -> None:
    session = polling(Settings(buffer_bytes=1000))
    assert session.send(bytes(2000), False) == []  # one may be larger
    assert session.send(b"a", False) == [Ended(EndReason.SLOW_CONSUMER, 4504, EndReason.SLOW_CONSUMER.reason)]
    assert session.buffered == 0


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "refusal", "code"),
    [
        (b"abc", ErrorResponse.BAD_REQUEST, 1002),
        (b"", ErrorResponse.BAD_REQUEST, 1002),
        (b"2", ErrorResponse.BAD_REQUEST, 1002),
        (b"0{}", ErrorResponse.BAD_REQUEST, 1002),
        (b"5", ErrorResponse.BAD_REQUEST, 1002),
        (b"6", ErrorResponse.BAD_REQUEST, 1002),
        (b"4\xff", ErrorResponse.BAD_REQUEST, 1007),
        (b"4" * 101, ErrorResponse.TOO_LARGE, 1009),
    ],
)
def test_a_post_that_is_wrong_ends_the_session(body: bytes, refusal: ErrorResponse, code: int) -> None:
    session = polling(Settings(max_payload_bytes=100))
    session.get("get", 1.0)
    session.post("post", 1.0)
    out = session.body("post", body, 1.0)
    assert out[:2] == [reject("post", refusal), Respond("get", 200, b"1")]
    [ended] = out[2:]
    assert isinstance(ended, Ended) and ended.why is EndReason.FAULT and ended.code == code
    assert session.over
    assert session.get("next", 1.0) == [reject("next", GONE)]
    assert session.post("next", 1.0) == [reject("next", GONE)]
    assert session.body("post", b"4a", 1.0) == []
    assert session.begin_upgrade("ws", 1.0) == [
        CloseWebSocket("ws", 1008, "this session already has a WebSocket, or cannot be upgraded")
    ]


def test_two_gets_at_a_time_end_the_session() -> None:
    session = polling()
    session.get("first", 1.0)
    assert session.get("second", 1.0) == [
        reject("second", ErrorResponse.BAD_REQUEST),
        Respond("first", 200, b"1"),
        OVERLAP,
    ]
    assert session.get("third", 1.0) == [reject("third", GONE)]


def test_two_posts_at_a_time_end_the_session() -> None:
    session = polling()
    session.get("get", 1.0)
    session.post("first", 1.0)
    assert session.post("second", 1.0) == [
        reject("second", ErrorResponse.BAD_REQUEST),
        Respond("get", 200, b"1"),
        reject("first", GONE),
        OVERLAP,
    ]
    assert session.body("first", b"4a", 1.0) == []


@pytest.mark.parametrize("text", [b"", b"abc", b"0", b"2", b"2probe", b"5", b"6"])
def test_a_frame_that_is_wrong_ends_the_session(text: bytes) -> None:
    session = in_websocket()
    closing, ended = session.frame("ws", text, False, 1.0)
    assert isinstance(closing, CloseWebSocket) and closing.code == 1002
    assert isinstance(ended, Ended) and ended.why is EndReason.FAULT and (ended.code, ended.reason) == closing[1:]
    assert session.frame("ws", b"4a", False, 1.0) == []


def test_a_frame_that_is_too_large_ends_the_session() -> None:
    session = in_websocket(Settings(max_payload_bytes=10))
    closing, _ = session.frame("ws", bytes(11), True, 1.0)
    assert isinstance(closing, CloseWebSocket) and closing.code == 1009


def test_requests_that_are_given_up() -> None:
    session = polling()
    session.get("get", 1.0)
    assert session.disconnected("get") == []
    session.post("post", 1.0)
    assert session.disconnected("post") == []
    assert session.body("post", b"4a", 1.0) == []
    assert session.disconnected("unknown") == []
    assert session.get("next", 1.0) == []
    assert session.post("next", 1.0) == []


# -- the upgrade -------------------------------------------------------------------------------------------


def test_a_probe_releases_the_waiting_get() -> None:
    session = polling()
    session.get("get", 1.0)
    session.begin_upgrade("ws", 1.0)
    assert session.frame("ws", b"2probe", False, 1.0) == [Write("ws", b"3probe", False)]
    assert session.due == 1.1
    assert session.tick(1.1) == [Respond("get", 200, b"6")]
    assert session.get("next", 2.0) == []
    assert session.due == 2.1
    assert session.tick(2.1) == [Respond("next", 200, b"6")]
    assert session.direct_websocket is None


def test_a_get_that_overtakes_the_end_of_the_upgrade_is_refused() -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    session.frame("ws", b"2probe", False, 1.0)
    session.get("get", 1.0)
    assert session.frame("ws", b"5", False, 1.05) == []
    assert session.due == pytest.approx(1.15)
    assert session.tick(1.2) == [reject("get", ErrorResponse.BAD_REQUEST)]
    assert session.due == 25.0


def test_what_is_sent_while_upgrading_is_neither_lost_nor_out_of_order() -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    session.send(b"a", False)
    session.frame("ws", b"2probe", False, 1.0)
    assert session.get("get", 1.0) == [Respond("get", 200, b"4a")]
    session.send(b"b", False)
    session.send(b"\1", True)
    assert session.frame("ws", b"5", False, 1.0) == [Write("ws", b"4b", False), Write("ws", b"\1", True)]
    assert session.send(b"c", False) == [Write("ws", b"4c", False)]


def test_a_post_that_began_before_the_upgrade_is_taken() -> None:
    session = polling()
    session.post("post", 1.0)
    session.begin_upgrade("ws", 1.0)
    session.frame("ws", b"2probe", False, 1.0)
    session.frame("ws", b"5", False, 1.0)
    assert session.body("post", b"4a", 1.0) == [Received(b"a", False), Respond("post", 200, b"ok")]


def test_after_the_upgrade_requests_are_refused_and_the_session_goes_on() -> None:
    session = upgraded()
    assert session.get("get", 2.0) == [reject("get", ErrorResponse.BAD_REQUEST)]
    assert session.post("post", 2.0) == [reject("post", ErrorResponse.BAD_REQUEST)]
    [closing] = session.begin_upgrade("second", 2.0)
    assert isinstance(closing, CloseWebSocket) and closing.key == "second"
    assert session.frame("ws", b"4a", False, 2.0) == [Received(b"a", False)]


def test_a_second_probe_is_hung_up_on() -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    [closing] = session.begin_upgrade("second", 1.0)
    assert isinstance(closing, CloseWebSocket) and closing.key == "second"
    assert session.frame("ws", b"2probe", False, 1.0) == [Write("ws", b"3probe", False)]


@pytest.mark.parametrize("frames", [[b"5"], [b"4a"], [b""], [b"2"], [b"2probe", b"2probe"], [b"2probe", b"4a"]])
def test_an_upgrade_that_goes_wrong_leaves_the_session_where_it_was(frames: list[bytes]) -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    for frame in frames[:-1]:
        session.frame("ws", frame, False, 1.0)
    [closing] = session.frame("ws", frames[-1], False, 1.0)
    assert isinstance(closing, CloseWebSocket) and closing.key == "ws"
    assert session.get("get", 1.0) == []
    assert session.send(b"a", False) == [Respond("get", 200, b"4a")]
    assert session.begin_upgrade("again", 1.0) == []


def test_an_upgrade_may_be_given_up_or_take_too_long() -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    assert session.disconnected("ws") == []
    session.begin_upgrade("second", 2.0)
    assert session.due == 12.0
    assert session.tick(12.0) == [CloseWebSocket("second", 1002, "the upgrade took too long")]
    assert session.due == 25.0
    assert not session.over


def test_where_no_upgrade_is_offered_none_is_taken() -> None:
    session = polling(Settings(upgrades=False))
    [closing] = session.begin_upgrade("ws", 1.0)
    assert isinstance(closing, CloseWebSocket)


# -- the heartbeat -----------------------------------------------------------------------------------------


def test_pings_come_when_announced_and_pongs_move_the_next() -> None:
    session = in_websocket()
    assert session.due == 25.0
    assert session.tick(24.9) == []
    assert session.tick(25.0) == [Write("ws", b"2", False)]
    assert session.due == 45.0
    assert session.frame("ws", b"3", False, 30.0) == [Heartbeat()]
    assert session.due == 55.0


def test_any_packet_is_a_sign_of_life() -> None:
    session = in_websocket()
    session.tick(25.0)
    session.frame("ws", b"4a", False, 44.0)
    assert session.tick(45.0) == []


def test_a_waiting_get_is_answered_with_the_ping() -> None:
    session = polling()
    session.get("get", 1.0)
    assert session.tick(25.0) == [Respond("get", 200, b"2")]


def test_a_ping_does_not_wait_behind_messages() -> None:
    session = polling()
    for _ in range(20):
        session.send(b"a", False)
    session.tick(25.0)
    [reply] = session.get("get", 26.0)
    assert isinstance(reply, Respond) and reply.body.startswith(b"2\x1e4a")


@pytest.mark.parametrize("make", [polling, in_websocket])
def test_silence_ends_the_session(make: Callable[[], Session]) -> None:
    session = make()
    session.tick(25.0)
    out = session.tick(45.0)
    assert out[-1] == Ended(EndReason.HEARTBEAT, 4505, EndReason.HEARTBEAT.reason)
    assert session.due == inf
    assert session.tick(50.0) == []


def test_a_process_that_was_busy_judges_nobody_by_that() -> None:
    session = in_websocket()
    session.tick(25.0)
    assert session.tick(50.1) == []  # 5.1 s late: what the client answered has not been read
    assert session.due == 55.1
    [closing, ended] = session.tick(55.1)
    assert isinstance(ended, Ended) and ended.why is EndReason.HEARTBEAT and isinstance(closing, CloseWebSocket)


def test_who_is_not_read_is_pinged_and_not_judged() -> None:
    session = in_websocket()
    assert session.tick(25.0, False) == [Write("ws", b"2", False)]
    assert session.tick(45.0, False) == []
    assert session.due == 50.0
    assert session.frame("ws", b"3", False, 49.0) == [Heartbeat()]
    assert session.due == 74.0


def test_a_request_finds_the_session_over_though_nobody_has_ticked() -> None:
    session = polling()
    session.tick(25.0)
    assert session.get("get", 45.0) == [
        Ended(EndReason.HEARTBEAT, 4505, EndReason.HEARTBEAT.reason),
        reject("get", GONE),
    ]


def test_a_timer_that_is_late_costs_the_server_not_the_client() -> None:
    session = in_websocket()
    session.tick(26.0)
    assert session.due == 45.0  # a little late: the client has what it was told
    session = in_websocket()
    session.tick(60.0)
    assert session.due == 80.0


# -- the end -----------------------------------------------------------------------------------------------


def test_a_client_closes_by_post() -> None:
    session = polling()
    session.get("get", 1.0)
    session.post("post", 1.0)
    assert session.body("post", b"4a\x1e1\x1e4b", 1.0) == [
        Received(b"a", False),
        Respond("get", 200, b"6"),
        Respond("post", 200, b"ok"),
        Ended(EndReason.CLIENT, 1000, EndReason.CLIENT.reason),
    ]


def test_a_client_closes_in_a_websocket() -> None:
    session = upgraded()
    assert session.frame("ws", b"1", False, 1.0) == [
        CloseWebSocket("ws", 1000, EndReason.CLIENT.reason),
        Ended(EndReason.CLIENT, 1000, EndReason.CLIENT.reason),
    ]


def test_a_websocket_that_is_lost_ends_the_session() -> None:
    session = upgraded()
    assert session.disconnected("ws") == [Ended(EndReason.LOST, 1006, EndReason.LOST.reason)]
    assert session.disconnected("ws") == []


def test_the_server_closes_a_websocket_at_once() -> None:
    session = in_websocket()
    assert session.close(1.0, 4403, "no") == [CloseWebSocket("ws", 4403, "no"), Ended(EndReason.SERVER, 4403, "no")]
    assert session.close(1.0) == []
    assert session.send(b"a", False) == []


def test_the_server_closes_polling_behind_what_waits() -> None:
    session = polling()
    for _ in range(17):
        session.send(b"a", False)
    assert session.close(1.0, 1001, "stopping") == []
    assert session.send(b"late", False) == []
    session.post("post", 1.0)
    assert session.body("post", b"4late", 1.0) == [Respond("post", 200, b"ok")]
    [first] = session.get("get", 1.0)
    [second] = session.get("get2", 1.0)
    assert isinstance(first, Respond) and first.body.count(b"4a") == 16
    assert isinstance(second, Respond) and second.body == b"4a"
    assert session.get("get3", 1.0) == [Respond("get3", 200, b"1"), Ended(EndReason.SERVER, 1001, "stopping")]


def test_the_server_does_not_wait_for_ever_to_close() -> None:
    session = polling()
    session.send(b"a", False)
    session.close(1.0, 1001, "stopping")
    assert session.due == 3.0
    assert session.tick(3.0) == [Ended(EndReason.SERVER, 1001, "stopping")]


def test_a_close_while_upgrading() -> None:
    session = polling()
    session.begin_upgrade("ws", 1.0)
    session.frame("ws", b"2probe", False, 1.0)
    session.send(b"a", False)
    session.close(1.0)
    assert session.frame("ws", b"5", False, 1.0) == [
        Write("ws", b"4a", False),
        CloseWebSocket("ws", 1000, ""),
        Ended(EndReason.SERVER, 1000, ""),
    ]


def test_abort_answers_everybody() -> None:
    session = polling()
    session.get("get", 1.0)
    session.begin_upgrade("ws", 1.0)
    assert session.abort() == [
        Respond("get", 200, b"1"),
        CloseWebSocket("ws", 1000, EndReason.SERVER.reason),
        Ended(EndReason.SERVER, 1000, EndReason.SERVER.reason),
    ]
    assert session.abort() == []


# -- any life ----------------------------------------------------------------------------------------------

bodies = st.sampled_from([b"4a", b"4a\x1e4b", b"3", b"1", b"abc", b"bAQ==", b"2"])
frames = st.sampled_from([b"2probe", b"5", b"4a", b"3", b"1", b"x"])
steps = st.lists(
    st.tuples(st.just("get"), st.none())
    | st.tuples(st.just("post"), st.none())
    | st.tuples(st.just("body"), bodies)
    | st.tuples(st.just("websocket"), st.none())
    | st.tuples(st.just("frame"), frames)
    | st.tuples(st.just("send"), st.binary(max_size=3))
    | st.tuples(st.just("tick"), st.floats(0, 30))
    | st.tuples(st.just("gone"), st.integers(0, 5))
    | st.tuples(st.just("close"), st.none()),
    max_size=60,
)


@given(steps)
def test_any_life(life: list[tuple[str, Any]]) -> None:
    """Whoever asks is answered once, whoever is open is hung up on once, and the end comes once."""
    session = Session("sid", Settings(buffer_bytes=200), 0.0)
    session.open_polling("open")
    now = 0.0
    requests: dict[Hashable, str] = {}
    sockets: list[Hashable] = []
    ended = 0
    for number, (what, value) in enumerate(life):
        over = session.over
        posts = [key for key, kind in requests.items() if kind == "post"]
        out: list[Action] = []
        match what:
            case "get" | "post":
                requests[number] = what
                out = session.get(number, now) if what == "get" else session.post(number, now)
            case "body" if posts:
                out = session.body(posts[0], value, now)
            case "websocket":
                sockets.append(number)
                out = session.begin_upgrade(number, now)
            case "frame" if sockets:
                out = session.frame(sockets[-1], value, False, now)
            case "send":
                out = session.send(value, True)
            case "tick":
                now += value
                out = session.tick(now)
            case "gone" if value < len(sockets):
                out = session.disconnected(sockets.pop(value))
            case "close":
                out = session.close(now)
        for each in out:
            match each:
                case Respond():
                    del requests[each.key]
                    assert each.status != 200 or len(each.body.split(b"\x1e")) <= 16
                case CloseWebSocket():
                    sockets.remove(each.key)
                case Write():
                    assert each.key in sockets
                case Received():
                    assert not over
                case Ended():
                    ended += 1
        assert session.buffered <= 400
        assert ended == session.over
        if session.over:
            assert not requests and not sockets
