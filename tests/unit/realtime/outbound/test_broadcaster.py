from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.realtime.connection.send_queue import Overflow, SendResult
from mycelia.realtime.outbound.broadcaster import BroadcastResult
from tests.unit.realtime.support import Stage, staged

MSGPACK = ("Sec-WebSocket-Protocol", "mycelia.v1.msgpack")
METADATA: list[dict[str, Any]] = [
    {},
    {"room": "a"},
    {"room": "b", "vip": True},
    {"room": "a", "vip": 1},
    {"room": None, "tags": ["x"]},
]


async def test_everybody_of_one_dialect_is_written_the_same_object() -> None:
    async with staged() as stage:
        json_peers = [stage.open()[1] for _ in range(3)]
        packed_peers = [stage.open(MSGPACK)[1] for _ in range(2)]
        for peer in packed_peers:
            peer.writes.clear()  # the greeting of who offers a subprotocol
        assert await stage.core.broadcaster.broadcast({"event": "e"}) == BroadcastResult(5, 0, 0)
        for peers in (json_peers, packed_peers):
            [first] = peers[0].writes
            assert all(len(peer.writes) == 1 and peer.writes[0] is first for peer in peers)
        assert json_peers[0].messages == [{"event": "e"}]


async def test_peers_that_take_no_frames_are_sent_the_payload() -> None:
    async with staged() as stage:
        _, framed = stage.open()
        _, plain = stage.open_plain()
        await stage.core.broadcaster.broadcast({"event": "e"})
        assert plain.sent == [(b'{"event":"e"}', False)] and framed.messages == [{"event": "e"}]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        ({}, [0, 1, 2, 3, 4]),
        ({"room": "a"}, [1, 3]),
        ({"room": "a", "vip": 1}, [3]),
        ({"vip": True}, [2]),
        ({"vip": 1}, [3]),
        ({"room": None}, [4]),
        ({"absent": None}, []),
        ({"tags": ["x"]}, [4]),
        (lambda connection: connection.metadata.get("room"), [1, 2, 3]),
        (lambda connection: False, []),
    ],
)
async def test_filters(chosen: Any, expected: list[int]) -> None:
    async with staged() as stage:
        opened = [stage.open() for _ in METADATA]
        for (connection, _), metadata in zip(opened, METADATA, strict=True):
            connection.session.metadata = metadata
        result = await stage.core.broadcaster.broadcast({"event": "e"}, chosen)
        assert [number for number, (_, peer) in enumerate(opened) if peer.writes] == expected
        assert result == BroadcastResult(len(expected), 0, 0)


@pytest.mark.parametrize("chosen", [5, "room", ["room"]])
async def test_a_filter_that_is_none_is_said_so(chosen: Any) -> None:
    async with staged() as stage:
        _, peer = stage.open()
        with pytest.raises(InvalidMessage, match="filter: expected an object or a function"):
            await stage.core.broadcaster.broadcast({"event": "e"}, chosen)
        assert not peer.writes


async def test_what_one_codec_cannot_say_is_sent_to_nobody_of_any() -> None:
    async with staged() as stage:
        peers = [stage.open()[1], stage.open(MSGPACK)[1]]
        for peer in peers:
            peer.writes.clear()
        with pytest.raises(InvalidMessage):
            await stage.core.broadcaster.broadcast({"event": "e", "data": object()})
        assert not any(peer.writes for peer in peers)


async def test_the_pending_and_the_closing_are_not_written_to() -> None:
    async with staged() as stage:
        pending = stage.admit()
        closing, peer = stage.open()
        closing.close(1000, "")
        assert await stage.core.broadcaster.broadcast({"event": "e"}) == BroadcastResult(0, 0, 0)
        assert not peer.writes and pending.session.metadata == {}


async def test_a_predicate_that_closes_connections_does_not_confuse_it() -> None:
    async with staged() as stage:
        opened = [stage.open() for _ in range(4)]

        def closes_the_next(connection: Any) -> bool:
            if connection is opened[0][0].session:
                opened[1][0].close(1000, "")
            return True

        await stage.core.broadcaster.broadcast({"event": "e"}, closes_the_next)
        assert [len(peer.writes) for _, peer in opened] == [1, 0, 1, 1]


async def test_broadcasts_of_one_turn_leave_in_one_write_and_in_order() -> None:
    async with staged() as stage:
        opened = [stage.open() for _ in range(3)]
        opened[1][0].session.metadata = {"room": "a"}
        calls = [
            stage.core.broadcaster.broadcast({"event": str(number)}, {"room": "a"} if number == 3 else None)
            for number in range(5)
        ]
        results = await asyncio.gather(*calls)
        assert [result.written for result in results] == [3, 3, 3, 1, 3]
        assert [len(peer.writes) for _, peer in opened] == [2, 3, 2]
        assert [message["event"] for message in opened[0][1].messages] == ["0", "1", "2", "4"]
        assert [message["event"] for message in opened[1][1].messages] == ["0", "1", "2", "3", "4"]


async def test_a_peer_that_cannot_be_written_to_does_not_keep_it_from_the_others() -> None:
    def breaks(packet: bytes) -> None:
        raise OSError("broken pipe")

    async with staged() as stage:
        opened = [stage.open() for _ in range(3)]
        opened[1][0].write = breaks
        assert await stage.core.broadcaster.broadcast({"event": "e"}) == BroadcastResult(2, 0, 1)
        assert [len(peer.writes) for _, peer in opened] == [1, 0, 1]


policies = st.sampled_from([each for each in Overflow if each is not Overflow.NEVER])


@settings(max_examples=40)
@given(st.lists(st.tuples(policies, st.integers(0, 80), st.booleans()), max_size=25))
async def test_every_packet_to_a_full_peer_is_delivered_later_or_counted(
    sends: list[tuple[Overflow, int, bool]],
) -> None:
    """Written at last + counted as dropped = sent, for a peer that is full now and then; and order is kept."""
    async with staged(connection={"outboxBytes": 200}) as stage:
        connection, peer = stage.open()
        total = BroadcastResult()
        sent = 0
        for number, (policy, size, full) in enumerate(sends):
            if not connection.is_open:
                break
            connection.congested(full)
            result = await stage.core.broadcaster.broadcast(
                {"event": "e", "data": [number, "x" * size]}, None, policy, "k"
            )
            sent += 1
            total = BroadcastResult(
                total.written + result.written, total.queued + result.queued, total.dropped + result.dropped
            )
        if not connection.is_open:
            assert (peer.closings, peer.aborted) in ([([(4504, "slow consumer")], 0), ([], 1)])
            return
        connection.congested(False)
        numbers = [message["data"][0] for message in peer.messages]
        assert numbers == sorted(set(numbers))
        assert len(numbers) + total.dropped == sent and total.dropped == connection.dropped
        assert connection.can_write_directly


async def test_what_is_volatile_never_waits() -> None:
    async with staged() as stage:
        (connection, peer), (slow, slow_peer) = stage.open(), stage.open()
        slow.congested(True)
        result = await stage.core.broadcaster.broadcast({"event": "e"}, overflow=Overflow.VOLATILE)
        assert result == BroadcastResult(1, 0, 1) and (connection.dropped, slow.dropped) == (0, 1)
        assert await slow.session.send({"event": "e"}, overflow="volatile") is SendResult.DROPPED
        slow.congested(False)
        assert await slow.session.send({"event": "f"}, overflow="volatile") is None
        assert [message["event"] for message in slow_peer.messages] == ["f"] and len(peer.messages) == 1


async def test_a_stage_is_gone_when_it_is_left() -> None:
    made: list[Stage] = []
    async with staged() as stage:
        made.append(stage)
        stage.open()
    assert made[0].core.registry.with_transport() == []
