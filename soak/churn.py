"""`churn`: clients come as fast as they can, drop without a Close, and what is left is looked at; again and again.

What is compared is the memory that the server still needs after a round, so chance is taken out in three ways. It
gives back what is free, as it does by itself where there is a ceiling: what is kept for the next clients was not left
behind by the last ones. It takes all its memory from malloc (`PYTHONMALLOC`): Python's own allocator for small objects
holds arenas of 1 MiB and gives one back only when nothing in it is in use, so that one float which happens to lie there
keeps a mebibyte, and after the same round, with the same objects alive, a process is some mebibytes larger or smaller,
by the luck of where they were put. malloc gives back pages. And it reads a ping before the first round: else the code
and the parser for the pong to its own first one would be loaded in the middle of the rounds.

With `--allocator pymalloc` it is a server as users run it, that is, with the luck in its figures.
"""

from __future__ import annotations

import asyncio

from soak.honest import Control
from soak.measure import forget_peak, sample
from soak.run import Report, server
from soak.wire import Addresses, Link, Target, enter

__all__ = ["ALLOCATORS", "churn"]

ALLOCATORS = ("malloc", "pymalloc")
MOST_GROWTH = 1.02
_AT_ONCE = 100  # handshakes


async def churn(engine: str, connections: int, rounds: int, allocator: str = "malloc") -> Report:
    """No descriptor and no task may be left, and the last round may leave hardly more memory than the third."""
    what = f"{connections:,} connections opened and dropped, {rounds} times"
    report = Report(f"churn: {what}, {engine}, {allocator}")
    with server(engine, connections + 100, connections, [f"PYTHONMALLOC={allocator}"]) as (process, target):
        control = await Control.over(target)
        control.ping()
        empty = await control.state()
        control.quiet_tasks = empty["tasks"]
        first = sample(process.pid, 0.0, empty)
        samples = []
        for number in range(1, rounds + 1):
            forget_peak(process.pid)
            began = asyncio.get_running_loop().time()
            await _come_and_drop(target, connections)
            took = asyncio.get_running_loop().time() - began
            async with asyncio.timeout(60):
                state = await control.settled()
            if allocator == "malloc":
                await control.relieve()
            one = sample(process.pid, float(number), state)
            samples.append(one)
            fault = ""
            if one.descriptors > first.descriptors or one.tasks > first.tasks:
                fault = f"expected {first.descriptors:.0f} descriptors and {first.tasks:.0f} tasks"
            memory = f"{one.rss_kib / 1024:7.2f} MiB of at most {one.peak_kib / 1024:.2f}"
            counts = f"{one.descriptors:.0f} descriptors, {one.tasks:.0f} tasks"
            report.add(f"round {number}", f"{memory}; {counts}; {connections / took:,.0f}/s", fault)
        await control.leave()
    third, last = samples[min(2, rounds - 1)].rss_kib, samples[-1].rss_kib
    fault = f"expected at most {MOST_GROWTH:g}" if last > third * MOST_GROWTH else ""
    report.add("memory of the last round / round 3", f"{last / third:.4f}", fault)
    report.samples = samples
    return report


async def _come_and_drop(target: Target, connections: int) -> None:
    addresses = Addresses(77)
    links: list[Link] = []
    turns = asyncio.Semaphore(_AT_ONCE)

    async def come() -> None:
        async with turns:
            links.append(await enter(target, addresses.next()))

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(come())
    for link in links:
        link.drop()
    await asyncio.wait([link.closed for link in links])
