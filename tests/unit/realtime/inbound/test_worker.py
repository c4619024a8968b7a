"""The order, the cork and the end of one connection's work, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.realtime.connection.link import Link
from mycelia.realtime.inbound.cork import CORK_BYTES
from mycelia.realtime.inbound.worker import Worker
from tests.unit.realtime.support import FakeTransport, Stage, staged, turns, until


def serve(stage: Stage) -> list[Any]:
    """Handlers that answer at once, later, or never; the list is what was begun."""
    begun: list[Any] = []

    def plain(message: Any) -> Any:
        begun.append(message.body)
        return message.body

    async def slow(message: Any) -> Any:
        begun.append(message.body)
        for _ in range(message.body["turns"]):
            await asyncio.sleep(0)
        return message.body

    async def never(message: Any) -> None:
        begun.append(message.body)
        await asyncio.Event().wait()

    def broken(message: Any) -> None:
        begun.append(message.body)
        raise ValueError("broken")

    for name, handler in (("plain", plain), ("slow", slow), ("never", never), ("broken", broken)):
        stage.app.register_route(f"app://{name}", handler, expose=True)
    stage.app.register_route("app://beside", never, expose=True, concurrent=True)
    return begun


def ask(connection: Link, name: str, number: int, **body: Any) -> None:
    request = {"path": f"app://{name}", "body": {"n": number, **body}, "correlationId": number}
    connection.received(json.dumps(request).encode(), False)


requests = st.tuples(st.sampled_from(["plain", "slow", "broken", "absent"]), st.integers(0, 3), st.integers(0, 2))


@settings(max_examples=40)
@given(st.lists(requests, max_size=25), st.booleans())
async def test_answers_come_in_the_order_of_the_requests(program: list[tuple[str, int, int]], framed: bool) -> None:
    """Each request: which handler, for how many turns it suspends, and the pause before the next."""
    async with staged() as stage:
        begun = serve(stage)
        connection, transport = stage.open() if framed else stage.open_plain()
        for number, (name, suspensions, pause) in enumerate(program):
            ask(connection, name, number, turns=suspensions)
            await turns(pause)

        def answers() -> list[Any]:
            if isinstance(transport, FakeTransport):
                return transport.messages
            return [json.loads(payload) for payload, _ in transport.sent]

        await until(lambda: len(answers()) == len(program))
        assert [answer["correlationId"] for answer in answers()] == list(range(len(program)))
        expected = [number for number, (name, _, _) in enumerate(program) if name != "absent"]
        assert [body["n"] for body in begun] == expected
        for answer, (name, _, _) in zip(answers(), program, strict=True):
            assert answer["success"] is (name in ("plain", "slow"))


async def test_the_answers_to_one_read_leave_in_one_write() -> None:
    async with staged() as stage:
        serve(stage)
        connection, transport = stage.open()
        for number in range(10):
            ask(connection, "plain", number)
        await until(lambda: transport.writes)
        await turns(3)
        assert len(transport.writes) == 1 and len(transport.messages) == 10


async def test_an_answer_does_not_wait_for_a_later_handler() -> None:
    async with staged() as stage:
        serve(stage)
        connection, transport = stage.open()
        ask(connection, "plain", 0)
        ask(connection, "never", 1)
        await until(lambda: transport.writes)
        assert [message["correlationId"] for message in transport.messages] == [0]


async def test_what_others_write_comes_after_the_answers_that_are_held_back() -> None:
    async with staged() as stage:
        connection, transport = stage.open()

        async def speaks(message: Any) -> int:
            await stage.core.broadcaster.broadcast({"event": "said", "data": message.body["n"]})
            return int(message.body["n"])

        stage.app.register_route("app://speaks", speaks, expose=True)
        for number in range(3):
            ask(connection, "speaks", number)
        await until(lambda: len(transport.messages) == 6)
        shown = [message.get("event") or message["correlationId"] for message in transport.messages]
        assert shown == ["said", 0, "said", 1, "said", 2]


async def test_the_cork_is_bounded() -> None:
    async with staged(connection={"backlogBytes": 10**7}) as stage:
        serve(stage)
        connection, transport = stage.open()
        size = 20_000
        for number in range(20):
            ask(connection, "plain", number, text="x" * size)
        await until(lambda: sum(map(len, transport.writes)) > 20 * size)
        assert len(transport.messages) == 20
        assert max(map(len, transport.writes)) <= CORK_BYTES + size + 500


async def test_a_full_backlog_pauses_and_half_of_it_resumes() -> None:
    async with staged(connection={"backlogRequests": 4}) as stage:
        serve(stage)
        connection, transport = stage.open()
        for number in range(4):
            ask(connection, "plain", number)
        assert transport.reading == ["pause"] and connection.paused
        await until(lambda: len(transport.messages) == 4)
        assert transport.reading == ["pause", "resume"] and not connection.paused


async def test_what_is_still_too_much_after_the_grace_is_refused_from_the_newest() -> None:
    async with staged(connection={"backlogRequests": 3, "pauseTimeout": 10}) as stage:
        begun = serve(stage)
        connection, transport = stage.open()
        ask(connection, "never", 0)
        await until(lambda: begun)
        for number in range(1, 6):
            ask(connection, "plain", number)
        await until(lambda: transport.reading == ["pause", "resume"])
        assert [(m["correlationId"], m["error"]["code"]) for m in transport.messages] == [
            (5, "OVERLOADED"),
            (4, "OVERLOADED"),
            (3, "OVERLOADED"),
        ]
        assert all(message["error"]["retryable"] for message in transport.messages)
        assert len(begun) == 1


async def test_beside_the_others_up_to_the_cap() -> None:
    async with staged(connection={"concurrentRequests": 2}) as stage:
        begun = serve(stage)
        connection, transport = stage.open()
        for number in range(3):
            ask(connection, "beside", number)
        ask(connection, "plain", 3)
        await until(lambda: len(transport.messages) == 2)
        assert [(m["correlationId"], m["success"]) for m in transport.messages] == [(2, False), (3, True)]
        await until(lambda: len(begun) == 3)
        worker = connection.worker
        assert isinstance(worker, Worker) and len(worker.tasks) == 3
        await turns(3)
        assert not worker.is_idle
        worker.retire()
        assert not worker.is_retiring, "a worker whose handlers run is not idle"


async def test_a_client_that_goes_ends_everything_of_its_own() -> None:
    async with staged() as stage:
        begun = serve(stage)
        connection, transport = stage.open()
        other, other_transport = stage.open()
        ask(connection, "beside", 0)
        ask(connection, "never", 1)
        ask(connection, "plain", 2)
        ask(other, "plain", 3)
        await until(lambda: len(begun) == 3)
        worker = connection.worker
        assert isinstance(worker, Worker)
        tasks = worker.tasks
        connection.closed(1006, "")
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert not worker.backlog.entries and worker.backlog.size_bytes == 0
        assert transport.writes == [] and len(begun) == 3
        await until(lambda: other_transport.writes)


async def test_who_says_goodbye_is_worked_off_no_longer_than_it_takes() -> None:
    async with staged(connection={"closeTimeout": 60_000}) as stage:
        gate, done = asyncio.Event(), list[Any]()

        async def waits(message: Any) -> None:
            await gate.wait()
            done.append(message.body["n"])

        stage.app.register_route("app://waits", waits, expose=True, concurrent=True)
        connection, _ = stage.open()
        ask(connection, "waits", 0)
        ask(connection, "waits", 1)
        await turns(5)  # both overlap, and the worker sleeps
        connection.leaving()
        connection.closed(1000, "")
        assert stage.core.requests() == 2, "whose client is gone is still work"
        gate.set()
        await until(lambda: stage.core.registry.get(connection.id) is None)
        assert sorted(done) == [0, 1] and stage.core.requests() == 0


async def test_what_overlaps_keeps_the_worker_that_retires() -> None:
    async with staged() as stage:
        begun = serve(stage)
        connection, _ = stage.open()
        ask(connection, "plain", 0)
        worker = connection.worker
        assert isinstance(worker, Worker)
        await until(lambda: worker.is_idle)
        worker.retire()
        ask(connection, "beside", 1)
        await until(lambda: len(begun) == 2)
        assert connection.worker is worker
        tasks = worker.tasks
        assert len(tasks) == 2
        connection.closed(1006, "")
        await asyncio.wait(tasks)
        assert all(task.done() for task in tasks)


async def test_an_idle_connection_has_no_worker() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        assert connection.worker is None
        tasks = asyncio.all_tasks()
        await stage.core.broadcaster.broadcast({"event": "e"})
        assert connection.worker is None and asyncio.all_tasks() == tasks
