"""One session of SockJS over HTTP."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mycelia.protocol.sockjs.frames import quote
from mycelia.protocol.sockjs.response_formats import style_of
from mycelia.protocol.sockjs.session import (
    Drop,
    End,
    Ended,
    Finish,
    Forget,
    Output,
    Received,
    Session,
    SessionTerms,
    Write,
)

POLL, STREAM = style_of("xhr"), style_of("xhr_streaming")
TERMS = SessionTerms(heartbeat=25.0, timeout=5.0, close_timeout=2.0, response_bytes=40)
OCCUPIED = b'c[2010,"Another connection still open"]\n'
INTERRUPTED = b'c[1002,"Connection interrupted"]\n'
AWAY = b'c[3000,"Go away!"]\n'


def opened(streaming: bool = True) -> Session:
    session = Session(TERMS, 0.0)
    out = session.receive("a", STREAM if streaming else POLL, 0.0)
    assert out == [Write("a", b"o\n"), *([] if streaming else [Finish("a")])]
    return session


def send(session: Session, *texts: str, now: float = 0.0) -> list[Output]:
    for text in texts:
        session.put(quote(text))
    return session.flush(now)


def test_a_poll_gets_what_waits_in_one_frame() -> None:
    session = opened(streaming=False)
    assert send(session, "x", "y") == []
    assert session.buffered > 6
    assert session.receive("b", POLL, 1.0) == [Write("b", b'a["x","y"]\n'), Finish("b")]
    assert session.buffered == 0
    assert session.receive("c", POLL, 1.0) == []
    assert send(session, "z", now=1.0) == [Write("c", b'a["z"]\n'), Finish("c")]


def test_a_stream_ends_when_it_has_had_enough() -> None:
    session = opened()
    assert send(session, "x") == [Write("a", b'a["x"]\n')]
    assert send(session, "y" * 40) == [Write("a", b'a["%b"]\n' % (b"y" * 40)), Finish("a")]
    assert send(session, "z") == []
    assert session.receive("b", STREAM, 1.0) == [Write("b", b'a["z"]\n')]


def test_one_receives_at_a_time() -> None:
    session = opened()
    assert session.receive("b", POLL, 0.0) == [Write("b", OCCUPIED), Finish("b")]
    assert session.gone("b", 0.0) == []
    assert send(session, "x") == [Write("a", b'a["x"]\n')]


def test_heartbeats_come_when_nothing_else_does() -> None:
    session = opened()
    assert session.due == 25.0
    assert send(session, "x", now=20.0) == [Write("a", b'a["x"]\n')]
    assert session.tick(30.0) == []
    assert session.due == 45.0
    assert session.tick(45.0) == [Write("a", b"h\n")]
    polled = opened(streaming=False)
    polled.receive("b", POLL, 1.0)
    assert polled.tick(26.0) == [Write("b", b"h\n"), Finish("b")]


def test_it_closes_behind_what_waits() -> None:
    session = opened(streaming=False)
    send(session, "x")
    assert session.close(3000, "Go away!", 0.0) == []
    session.put(b'"late"')
    assert session.bring([b"late"]) == []
    assert session.receive("b", POLL, 0.1) == [Write("b", b'a["x"]\n'), Finish("b")]
    assert session.receive("c", POLL, 0.2) == [Write("c", AWAY), Finish("c"), Ended(End.SERVER)]
    assert session.receive("d", POLL, 0.3) == [Write("d", AWAY), Finish("d")]
    assert session.due == 5.2
    assert session.tick(5.2) == [Forget()]
    assert session.due == inf
    assert session.tick(9.0) == []


def test_a_stream_hears_of_the_close_at_once() -> None:
    session = opened()
    assert session.close(3000, "Go away!", 0.0) == [Write("a", AWAY), Finish("a"), Ended(End.SERVER)]
    assert session.close(3001, "again", 0.0) == []
    assert session.abort(0.0) == []


def test_a_close_does_not_wait_for_ever() -> None:
    session = opened(streaming=False)
    send(session, "x")
    session.close(1005, "", 0.0)
    assert session.due == 2.0
    assert session.tick(2.0) == [Ended(End.ABORTED)]
    assert session.buffered == 0
    assert session.receive("b", POLL, 3.0) == [Write("b", b'c[1000,""]\n'), Finish("b")]


def test_a_close_before_what_waits() -> None:
    session = opened(streaming=False)
    send(session, "x")
    session.close(4504, "slow", 0.0, behind=False)
    assert session.receive("b", POLL, 0.1)[0] == Write("b", b'c[4504,"slow"]\n')


def test_who_hangs_up_has_ended_it() -> None:
    session = opened()
    assert session.gone("a", 1.0) == [Ended(End.LOST)]
    assert session.receive("b", POLL, 1.0) == [Write("b", INTERRUPTED), Finish("b")]
    assert session.tick(6.0) == [Forget()]


def test_a_response_that_is_lost_on_its_way_is_no_secret() -> None:
    session = opened(streaming=False)
    session.receive("b", POLL, 1.0)
    assert session.gone("a", 1.0) == [Write("b", INTERRUPTED), Finish("b"), Ended(End.LOST)]
    other = opened(streaming=False)
    other.sent("a")
    assert other.gone("a", 1.0) == []


def test_what_the_server_closed_with_is_said_also_when_a_response_is_lost() -> None:
    session = opened(streaming=False)
    assert session.close(4504, "slow", 0.0) == []
    assert session.gone("a", 1.0) == [Ended(End.LOST)]
    assert session.receive("b", POLL, 1.0)[0] == Write("b", b'c[4504,"slow"]\n')


def test_silence_ends_it() -> None:
    session = opened(streaming=False)
    assert session.due == 5.0
    assert session.tick(5.0) == [Ended(End.SILENT), Forget()]


def test_an_abort_drops_the_response() -> None:
    session = opened()
    assert session.abort(0.0) == [Drop("a"), Ended(End.ABORTED)]
    assert session.receive("b", POLL, 1.0) == [Write("b", INTERRUPTED), Finish("b")]


@pytest.mark.parametrize("messages", [[], [b"a", b"b"]])
def test_messages(messages: list[bytes]) -> None:
    assert opened().bring(messages) == ([Received(messages)] if messages else [])


class Lives(RuleBasedStateMachine):
    """Whatever happens: order, one end, one answer per request, nothing after it is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.numbers = 0.0, 0
        self.session = Session(TERMS, 0.0)
        self.open: dict[int, bytes] = {}  # what requests have been told
        self.finished: list[int] = []
        self.sent = 0
        self.lost = False
        self.seen: list[int] = []
        self.ends: list[Any] = []
        self.receive(True)

    def do(self, outputs: list[Output]) -> None:
        for each in outputs:
            assert not self.ends or isinstance(each, Write | Finish | Forget)
            match each:
                case Write(key, payload):
                    assert isinstance(key, int)
                    self.open[key] += payload
                    if payload[:1] == b"a":
                        self.seen += [int(text) for text in json.loads(payload[1:])]
                case Finish(key) | Drop(key):
                    assert isinstance(key, int)
                    del self.open[key]
                    self.finished.append(key)
                case Ended():
                    self.ends.append(each)
                case Forget():
                    self.ends.append(each)
                    assert [type(end) for end in self.ends] == [Ended, Forget]

    @rule(streaming=st.booleans())
    def receive(self, streaming: bool) -> None:
        if self.session.forgotten:
            return
        self.numbers += 1
        self.open[self.numbers] = b""
        self.do(self.session.receive(self.numbers, STREAM if streaming else POLL, self.now))
        assert len(self.open) <= 1

    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        for _ in range(count):
            if not self.session.over:
                self.session.put(quote(str(self.sent)))
                self.sent += 1
        self.do(self.session.flush(self.now))

    @rule(behind=st.booleans())
    def close(self, behind: bool) -> None:
        self.lost = True
        self.do(self.session.close(3000, "x", self.now, behind=behind))

    @rule()
    def abort(self) -> None:
        self.do(self.session.abort(self.now))

    @rule(of_finished=st.booleans())
    def gone(self, of_finished: bool) -> None:
        keys = self.finished if of_finished else list(self.open)
        if keys:
            key = keys.pop()
            self.open.pop(key, None)
            self.do(self.session.gone(key, self.now))

    @rule()
    def all_sent(self) -> None:
        for key in self.finished:
            self.session.sent(key)
        self.finished.clear()

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.session.tick(self.now))
        assert self.session.due > self.now

    @invariant()
    def nothing_is_lost_or_told_twice(self) -> None:
        assert self.seen == list(range(len(self.seen)))
        if not self.session.over and not self.lost and self.open:
            assert len(self.seen) == self.sent
        assert (self.session.buffered == 0) or not self.session.over
        assert self.session.over is bool(self.ends)


TestLives = Lives.TestCase
