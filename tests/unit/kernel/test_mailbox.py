from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import ConfigError, Disposed, HandlerError, Overloaded
from mycelia.kernel.mailbox import Mailbox, QueueConfig
from mycelia.kernel.messages.message import Message
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem

POLICIES = ["reject", "drop_oldest", "drop_newest", "block"]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"capacity": -1}, "queue.capacity"),
        ({"capacity": "5"}, "queue.capacity"),
        ({"capacity": True}, "queue.capacity"),
        ({"concurrency": 0}, "queue.concurrency"),
        ({"overflow": "drop"}, "queue.overflow"),
        ({"size": 5}, "queue.size"),
    ],
)
def test_config_names_the_wrong_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QueueConfig.read(values)
    assert caught.value.key == key


class Bench:
    """A mailbox whose work ends when it is told to."""

    def __init__(self, **config: Any) -> None:
        self.mailbox = Mailbox("s", QueueConfig(**config))
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

    async def work(self, number: int) -> int:
        self.begun.append(number)
        await self.gates[number].wait()
        return number

    async def send(self, number: int) -> asyncio.Task[int]:
        self.gates[number] = asyncio.Event()
        task = asyncio.create_task(self.mailbox.submit(self.work(number)))
        await settled()
        return task

    def counts(self) -> dict[str, int]:
        return {key: value for key, value in self.mailbox.snapshot().items() if value}


async def settled() -> None:
    """Until everything that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def failure(task: Awaitable[Any]) -> BaseException | None:
    try:
        await task
    except BaseException as fault:
        return fault
    return None


@pytest.mark.parametrize(
    ("overflow", "loser", "counts"),
    [
        ("reject", 3, {"rejected": 1}),
        ("drop_newest", 3, {"dropped": 1}),
        ("drop_oldest", 2, {"dropped": 1}),
        ("block", None, {}),
    ],
)
async def test_policies(overflow: Any, loser: int | None, counts: dict[str, int]) -> None:
    bench = Bench(capacity=1, concurrency=1, overflow=overflow)
    tasks = {number: await bench.send(number) for number in (1, 2, 3)}
    assert bench.begun == [1]
    for gate in bench.gates.values():
        gate.set()
    for number, task in tasks.items():
        if number == loser:
            assert isinstance(await failure(task), Overloaded)
        else:
            assert await task == number
    assert bench.begun == [number for number in (1, 2, 3) if number != loser]
    await settled()
    assert bench.counts() == counts


@pytest.mark.parametrize("overflow", POLICIES)
async def test_capacity_zero(overflow: Any) -> None:
    bench = Bench(capacity=0, overflow=overflow)
    first, second = await bench.send(1), await bench.send(2)
    bench.gates[1].set()
    bench.gates[2].set()
    assert await first == 1
    fault = await failure(second)
    assert fault is None if overflow == "block" else isinstance(fault, Overloaded)


async def test_concurrency_and_order() -> None:
    bench = Bench(capacity=10, concurrency=2)
    tasks = [await bench.send(number) for number in range(5)]
    assert bench.begun == [0, 1]
    bench.gates[1].set()
    await settled()
    assert bench.begun == [0, 1, 2]
    for gate in bench.gates.values():
        gate.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]
    assert bench.begun == [0, 1, 2, 3, 4]


async def test_a_cancelled_senders_waiting_message_does_not_run() -> None:
    bench = Bench(capacity=1, overflow="block")
    first, second, third = [await bench.send(number) for number in (1, 2, 3)]
    assert bench.counts() == {"running": 1, "waiting": 1, "blocked": 1}
    second.cancel()
    await settled()
    assert bench.counts() == {"running": 1, "waiting": 1, "cancelled": 1}
    third.cancel()
    bench.gates[1].set()
    assert await first == 1
    assert second.cancelled() and isinstance(await failure(third), asyncio.CancelledError)
    assert bench.begun == [1]
    assert bench.counts() == {"cancelled": 2}


async def test_whoever_is_blocked_gets_the_place_of_whoever_left_the_queue() -> None:
    bench = Bench(capacity=1, overflow="block")
    first, second, third, fourth = [await bench.send(number) for number in (1, 2, 3, 4)]
    for gate in bench.gates.values():
        gate.set()
    second.cancel()
    assert [await first, await third, await fourth] == [1, 3, 4]
    assert isinstance(await failure(second), asyncio.CancelledError)
    assert bench.begun == [1, 3, 4]


async def test_a_cancelled_senders_running_handler_is_cancelled() -> None:
    bench = Bench(capacity=1)
    first, second = await bench.send(1), await bench.send(2)
    first.cancel()
    assert isinstance(await failure(first), asyncio.CancelledError)
    bench.gates[2].set()
    assert await second == 2


async def test_cancelling_at_the_very_moment_of_the_turn() -> None:
    bench = Bench(capacity=2)
    first, second, third = [await bench.send(number) for number in (1, 2, 3)]
    bench.gates[1].set()
    bench.gates[3].set()
    first.add_done_callback(lambda _: second.cancel())
    assert await first == 1
    assert isinstance(await failure(second), asyncio.CancelledError)
    assert await third == 3
    await settled()
    assert bench.counts() == {}


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
async def test_a_sender_cancelled_just_before_its_place_is_taken(overflow: Any) -> None:
    bench = Bench(capacity=1, overflow=overflow)
    first, second = await bench.send(1), await bench.send(2)
    second.cancel()  # not yet run: its entry is still in the queue
    third = await bench.send(3)
    for gate in bench.gates.values():
        gate.set()
    assert [await first, await third] == [1, 3]
    assert isinstance(await failure(second), asyncio.CancelledError)
    assert bench.begun == [1, 3]


async def test_dispose_answers_everybody() -> None:
    bench = Bench(capacity=1, overflow="block")
    tasks = [await bench.send(number) for number in (1, 2, 3)]
    await bench.mailbox.dispose()
    faults = [await failure(task) for task in tasks]
    assert [(type(each), getattr(each, "begun", None)) for each in faults] == [
        (Disposed, True),
        (Disposed, False),
        (Disposed, False),
    ]
    late = await failure(bench.mailbox.submit(bench.work(1)))
    assert isinstance(late, Disposed) and bench.begun == [1]
    assert bench.counts() == {}


@given(
    st.sampled_from(POLICIES),
    st.integers(0, 3),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["send", "finish", "cancel"]), st.integers(0, 30)), max_size=30),
)
async def test_nothing_is_lost_silently(
    overflow: Any, capacity: int, concurrency: int, moves: list[tuple[str, int]]
) -> None:
    bench = Bench(capacity=capacity, concurrency=concurrency, overflow=overflow)
    tasks: list[asyncio.Task[int]] = []
    for move, number in moves:
        if move == "send":
            tasks.append(await bench.send(len(tasks)))
        elif tasks and move == "finish":
            bench.gates[number % len(tasks)].set()
        elif tasks:
            tasks[number % len(tasks)].cancel()
        await settled()
        counts = bench.mailbox.snapshot()
        assert counts["running"] <= concurrency and counts["waiting"] <= capacity
        assert counts["running"] == concurrency or counts["waiting"] == counts["blocked"] == 0
    for gate in bench.gates.values():
        gate.set()
    faults = [await failure(task) for task in tasks]
    ends = Counter(type(fault).__name__ for fault in faults)
    await settled()
    counts = bench.mailbox.snapshot()
    assert set(ends) <= {"NoneType", "Overloaded", "CancelledError"}
    assert ends["Overloaded"] == counts["rejected"] + counts["dropped"]
    assert counts["running"] == counts["waiting"] == counts["blocked"] == 0
    assert bench.begun == sorted(bench.begun)


# In a system


async def test_send_waits_for_the_result_and_overflow_reaches_the_sender() -> None:
    system = MessageSystem("main")
    slow = BaseSubsystem("slow", ms=system, queue={"capacity": 1, "concurrency": 1, "overflow": "reject"})
    gate = asyncio.Event()

    @slow.route("slow://work/{n}")
    async def work(n: int) -> int:
        await gate.wait()
        return n * 2

    async with system:
        tasks = [asyncio.create_task(system.send(Message(f"slow://work/{n}"))) for n in (1, 2, 3)]
        await settled()
        assert isinstance(await failure(tasks[2]), Overloaded)
        gate.set()
        assert await asyncio.gather(*tasks[:2]) == [2, 4]
        assert system.statistics()["slow"]["queue"]["rejected"] == 1


async def test_dispose_answers_senders_through_the_system() -> None:
    system = MessageSystem("main")
    slow = BaseSubsystem("slow", ms=system, queue={"capacity": 5})
    begun = asyncio.Event()

    @slow.route("slow://work")
    async def work(m, p, o):  # type: ignore[no-untyped-def]
        begun.set()
        await asyncio.Event().wait()

    await slow.build()
    tasks = [asyncio.create_task(system.send(Message("slow://work"))) for _ in range(3)]
    await begun.wait()
    await system.dispose()
    assert [type(await failure(task)) for task in tasks] == [Disposed] * 3


async def test_a_handler_that_sends_to_its_own_subsystem_does_not_wait_for_itself() -> None:
    system = MessageSystem("main")
    one = BaseSubsystem("one", ms=system, queue={"capacity": 0})
    two = BaseSubsystem("two", ms=system, queue={"capacity": 0})

    @one.route("one://outer")
    async def outer(m, p, o):  # type: ignore[no-untyped-def]
        return await system.send(Message("one://inner")), await system.send(Message("two://by"))

    @two.route("two://by")
    async def by(m, p, o):  # type: ignore[no-untyped-def]
        return await system.send(Message("one://inner"))

    one.register_route("one://inner", lambda m: "inner")
    async with system:
        assert await system.send(Message("one://outer")) == ("inner", "inner")
        assert await system.send(Message("one://inner")) == "inner"


async def test_a_background_task_of_a_handler_that_ended_queues_like_everybody() -> None:
    system = MessageSystem("main")
    one = BaseSubsystem("one", ms=system, queue={"capacity": 0})
    gate, release = asyncio.Event(), asyncio.Event()
    later: list[asyncio.Task[Any]] = []

    async def background() -> Any:
        await release.wait()
        return await system.send(Message("one://hold"))

    @one.route("one://spawn")
    async def spawn(m, p, o):  # type: ignore[no-untyped-def]
        later.append(asyncio.create_task(background()))

    @one.route("one://hold")
    async def hold(m, p, o):  # type: ignore[no-untyped-def]
        await gate.wait()

    async with system:
        await system.send(Message("one://spawn"))
        holding = asyncio.create_task(system.send(Message("one://hold")))
        await settled()
        release.set()
        assert isinstance(await failure(later[0]), Overloaded)
        gate.set()
        await holding


async def test_a_handlers_fault_reaches_the_sender() -> None:
    system = MessageSystem("main")
    one = BaseSubsystem("one", ms=system, queue={})
    one.register_route("one://x", lambda m: 1 / 0)
    async with system:
        with pytest.raises(HandlerError) as caught:
            await system.send(Message("one://x"))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
