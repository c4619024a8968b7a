from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.realtime.connection.send_queue import Overflow, SendQueue, SendResult

LIMIT = 20
LOSABLE = {Overflow.DROP_OLDEST, Overflow.LATEST}
PUSHES_OUT = {
    Overflow.DISCONNECT: set[Overflow](),
    Overflow.DROP_NEWEST: set[Overflow](),
    Overflow.DROP_OLDEST: LOSABLE,
    Overflow.LATEST: LOSABLE,
    Overflow.NEVER: LOSABLE | {Overflow.DROP_NEWEST},
}


@dataclass
class Model:
    """The promise of an outbox, as slow and plain as can be."""

    waiting: list[tuple[bytes, Overflow, str | None]] = field(default_factory=list)
    lost: int = 0

    def size(self) -> int:
        return sum(len(packet) for packet, _, _ in self.waiting)

    def put(self, packet: bytes, policy: Overflow, key: str | None) -> SendResult:
        if policy is Overflow.VOLATILE:
            self.lost += 1
            return SendResult.DROPPED
        if policy is Overflow.LATEST and key is not None:
            self._lose([entry for entry in self.waiting if entry[1:] == (policy, key)])
        victims: list[tuple[bytes, Overflow, str | None]] = []
        for entry in self.waiting:
            if self.size() - sum(len(one[0]) for one in victims) + len(packet) <= LIMIT:
                break
            if entry[1] in PUSHES_OUT[policy]:
                victims.append(entry)
        if self.size() - sum(len(one[0]) for one in victims) + len(packet) > LIMIT:
            if policy in (Overflow.DISCONNECT, Overflow.NEVER):
                return SendResult.DISCONNECT
            self.lost += 1
            return SendResult.DROPPED
        self._lose(victims)
        self.waiting.append((packet, policy, key))
        return SendResult.QUEUED

    def take(self) -> bytes | None:
        return self.waiting.pop(0)[0] if self.waiting else None

    def _lose(self, victims: list[tuple[bytes, Overflow, str | None]]) -> None:
        self.lost += len(victims)
        self.waiting = [entry for entry in self.waiting if not any(entry is victim for victim in victims)]


puts = st.tuples(
    st.integers(0, LIMIT + 5), st.sampled_from(list(Overflow)), st.one_of(st.none(), st.sampled_from("ab"))
)


@given(st.lists(st.one_of(st.none(), puts), max_size=60))
def test_it_is_the_model(program: list[tuple[int, Overflow, str | None] | None]) -> None:
    """`None` takes a packet."""
    outbox, model = SendQueue(LIMIT), Model()
    for number, step in enumerate(program):
        if step is None:
            assert outbox.take() == model.take()
        else:
            size, policy, key = step
            packet = bytes([number]) * size
            assert outbox.put(packet, policy, key) is model.put(packet, policy, key)
        assert (len(outbox), outbox.size_bytes, outbox.dropped) == (len(model.waiting), model.size(), model.lost)
        assert outbox.size_bytes <= LIMIT
    rest = []
    while (taken := outbox.take()) is not None:
        rest.append(taken)
    assert rest == [packet for packet, _, _ in model.waiting]
    assert (len(outbox), outbox.size_bytes) == (0, 0)


@given(st.lists(puts, max_size=40))
def test_every_packet_is_taken_dropped_or_answered_with_a_disconnect(
    program: list[tuple[int, Overflow, str | None]],
) -> None:
    outbox = SendQueue(LIMIT)
    verdicts = [outbox.put(b"x" * size, policy, key) for size, policy, key in program]
    assert len(outbox) + outbox.dropped + verdicts.count(SendResult.DISCONNECT) == len(program)


def drained(outbox: SendQueue) -> list[bytes]:
    found = []
    while (packet := outbox.take()) is not None:
        found.append(packet)
    return found


@pytest.mark.parametrize(
    ("waiting", "policy", "verdict", "left"),
    [
        (Overflow.DROP_OLDEST, Overflow.DROP_OLDEST, SendResult.QUEUED, [b"bbbb", b"cccc", b"new"]),
        (Overflow.LATEST, Overflow.DROP_OLDEST, SendResult.QUEUED, [b"bbbb", b"cccc", b"new"]),
        (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, SendResult.DROPPED, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.DROP_OLDEST, Overflow.DISCONNECT, SendResult.DISCONNECT, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.DROP_OLDEST, Overflow.NEVER, SendResult.QUEUED, [b"bbbb", b"cccc", b"new"]),
        (Overflow.DROP_NEWEST, Overflow.NEVER, SendResult.QUEUED, [b"bbbb", b"cccc", b"new"]),
        (Overflow.DROP_NEWEST, Overflow.DROP_OLDEST, SendResult.DROPPED, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.DISCONNECT, Overflow.DROP_OLDEST, SendResult.DROPPED, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.DISCONNECT, Overflow.NEVER, SendResult.DISCONNECT, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.NEVER, Overflow.DROP_OLDEST, SendResult.DROPPED, [b"aaaa", b"bbbb", b"cccc"]),
        (Overflow.NEVER, Overflow.NEVER, SendResult.DISCONNECT, [b"aaaa", b"bbbb", b"cccc"]),
    ],
)
def test_what_a_packet_that_finds_it_full_does(
    waiting: Overflow, policy: Overflow, verdict: SendResult, left: list[bytes]
) -> None:
    outbox = SendQueue(12)
    for packet in (b"aaaa", b"bbbb", b"cccc"):
        assert outbox.put(packet, waiting) is SendResult.QUEUED
    assert outbox.put(b"new", policy) is verdict
    assert drained(outbox) == left


def test_a_packet_that_cannot_fit_costs_no_other_its_place() -> None:
    outbox = SendQueue(12)
    outbox.put(b"reply", Overflow.NEVER)
    outbox.put(b"old", Overflow.DROP_OLDEST)
    assert outbox.put(b"x" * 8, Overflow.DROP_OLDEST) is SendResult.DROPPED
    assert (drained(outbox), outbox.dropped) == ([b"reply", b"old"], 1)


def test_latest_replaces_its_own_key_only_and_goes_to_the_end() -> None:
    outbox = SendQueue(100)
    for packet, key in ((b"a1", "a"), (b"b1", "b"), (b"n1", None), (b"n2", None), (b"a2", "a")):
        assert outbox.put(packet, Overflow.LATEST, key) is SendResult.QUEUED
    outbox.put(b"other", Overflow.DROP_OLDEST, "a")
    assert outbox.dropped == 1
    assert drained(outbox) == [b"b1", b"n1", b"n2", b"a2", b"other"]


def test_packets_are_held_by_reference() -> None:
    outbox, packet = SendQueue(100), b"the same object"
    outbox.put(packet, Overflow.DISCONNECT)
    assert outbox.take() is packet and outbox.take() is None
