"""What all connections of an engine share: the half-open ones, their deadline, and the end."""

from __future__ import annotations

from typing import Any, cast

from mycelia.observability.counters import EventCounters
from mycelia.protocol.http.request import HttpReply
from mycelia.realtime.admission.accept_limiter import AcceptLimiter
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.tcp.picows import PicowsEngine
from mycelia.transports.transport_state import TransportState
from tests.unit.realtime.support import until
from tests.unit.transports.support import HEAD, bench


async def test_half_open_connections_are_capped_in_all() -> None:
    async with bench(accept_control=AcceptLimiter(3, 3, EventCounters())) as stand:
        dialled = [stand.dial((f"192.0.2.{number}", 1)) for number in range(4)]
        assert [stream.calls for _, stream in dialled] == [[], [], [], ["abort"]]
        await until(lambda: connection_lost(dialled[3]))
        stand.feed(dialled[0][0], HEAD)
        assert not stand.dial()[1].calls, "a handshake that is done counts no more"


async def test_half_open_connections_are_capped_per_address() -> None:
    async with bench(accept_control=AcceptLimiter(100, 2, EventCounters())) as stand:
        crowd = [stand.dial(("192.0.2.1", number)) for number in range(3)]
        others = [stand.dial((f"198.51.100.{number}", 1)) for number in range(5)]
        assert [bool(stream.calls) for _, stream in crowd] == [False, False, True]
        assert not any(stream.calls for _, stream in others)
        await until(lambda: connection_lost(crowd[2]))
        assert stand.dial()[1].calls == ["abort"], "one that was refused makes no room"
        stand.feed(crowd[0][0], HEAD)
        crowd[1][1].abort()
        await until(lambda: connection_lost(crowd[1]))
        assert [stand.dial()[1].calls for _ in range(2)] == [[], []], "one was opened, one went"


async def test_a_unix_socket_has_no_address_and_still_works() -> None:
    async with bench() as stand:
        connection, stream = stand.dial("")
        assert connection.address == ""
        stand.feed(connection, HEAD)
        assert stream.output.startswith(b"HTTP/1.1 101 ")


async def test_a_handshake_that_is_not_done_in_time_is_408_and_the_others_stay() -> None:
    async with bench(handshake_timeout=0.05) as stand:
        slow, slow_stream = stand.dial()
        _, quick_stream, quick = stand.open()
        stand.feed(slow, HEAD[:30])
        await until(lambda: slow_stream.output)
        assert slow_stream.output.startswith(b"HTTP/1.1 408 ") and slow_stream.calls == ["close"]
        _, later_stream = stand.dial()
        await until(lambda: later_stream.output)
        assert later_stream.output.startswith(b"HTTP/1.1 408 ")
        assert not quick_stream.calls and not quick.closings


async def test_stop_ends_what_is_half_open_and_what_is_open() -> None:
    async with bench() as stand:
        _, half = stand.dial()
        connection, stream, peer = stand.open()
        stand.feed(connection, b"\x81")
        await stand.engine.stop()
        assert half.lost and stream.lost and peer.closings == [(1006, "")]
        assert stand.dial()[1].calls == ["abort"], "a connection that comes after stop() goes at once"


async def test_without_a_gate_a_handshake_is_503() -> None:
    answer = PicowsEngine().admit(cast(Any, None))
    assert isinstance(answer, HttpReply) and answer.status == 503


def connection_lost(dialled: tuple[StreamConnection, object]) -> bool:
    return dialled[0].state is TransportState.CLOSED
