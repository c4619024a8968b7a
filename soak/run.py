"""Two of the runs: `hostile` (attackers beside honest clients) and `soak` (everything, for long).

The server is pinned to core 0, everything else to core 1. Each run returns a Report; its `failures` are what was not as
it must be.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from benchmarks.servers.process import Running, free_port, pinned, running
from mycelia.websocket import ConnectionConfig
from soak.attacks import attack
from soak.honest import Control, Crowd
from soak.measure import Sample, flatness, percentile, sample, stolen
from soak.wire import Addresses, Target, dial, message

__all__ = ["Report", "hostile", "prepare", "server", "soak"]

SERVER_CORE, LOAD_CORE = 0, 1
MOST_SLOWER = 2.0
_READ_SIZE, _HEADROOM_KIB = 256 * 1024, 64 * 1024

_Others = list[tuple[list[str], int]]  # commands, and the core for each


@dataclass
class Report:
    """A table, what is wrong, and the samples if there are any."""

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def add(self, name: str, value: str, fault: str = "") -> None:
        """One row, and what is wrong with it."""
        self.rows.append((name, value))
        if fault:
            self.failures.append(f"{name}: {fault}")

    def as_text(self) -> str:
        """For a terminal."""
        width = max(len(name) for name, _ in self.rows)
        lines = [self.title, *(f"  {name:<{width}}  {value}" for name, value in self.rows)]
        return "\n".join([*lines, *(f"  FAILED {each}" for each in self.failures)])


@contextmanager
def server(
    engine: str, connections: int, accepts: int = 0, environment: Sequence[str] = ()
) -> Iterator[tuple[Running, Target]]:
    """A server process on its core; `accepts` raises how many may come in a second, `environment` is `NAME=value`s."""
    port = free_port()
    command = ["env", *environment, sys.executable, "-m", "soak.server", "--engine", engine, "--port", str(port)]
    command += ["--connections", str(connections), "--accepts", str(accepts)]
    with running(command, port, SERVER_CORE) as made:
        yield made, ("127.0.0.1", port)


@contextmanager
def beside(command: list[str], core: int) -> Iterator[int]:
    """Another process of ours on a core, while the block runs; yields its number."""
    process = subprocess.Popen(pinned([sys.executable, "-m", *command], core))
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def prepare() -> None:
    """As many descriptors as there may be, and this process on the core of the load."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux" and LOAD_CORE in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {LOAD_CORE})


# -- hostile -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measured:
    crowd: Crowd
    cpu: float  # the server's share of its core
    load: float  # the share that the first of the others took of its core
    stolen: float  # cores that the machine wanted and did not get
    rss_before: float
    rss_peak: float

    @property
    def p99(self) -> float:
        return percentile(self.crowd.latencies, 0.99)


async def hostile(engine: str, honest: int, attackers: int, seconds: float, kinds: Sequence[str] = ()) -> Report:
    """Honest clients alone, beside attackers, and beside a spinner that takes the CPU that the attackers took.

    Another spinner takes as much of the load's core as the attackers themselves did, and gives way as they do: on a
    virtual machine both cores are slower for everybody while both are busy, and that is no work of the server's.
    """
    report = Report(f"hostile: {attackers} attackers beside {honest} honest clients, {seconds:g} s, {engine}")
    alone = await _beside_honest(engine, honest, attackers, max(1.0, seconds / 6), lambda port: [])
    command = ["soak.attacks", "--clients", str(attackers), *(["--kinds", *kinds] if kinds else []), "--port"]
    attacked = await _beside_honest(engine, honest, attackers, seconds, lambda port: [([*command, port], LOAD_CORE)])
    share = min(0.95, max(0.0, attacked.cpu - alone.cpu))
    spinners: _Others = [
        (["soak.spinner", "--idle", f"{attacked.load:.3f}"], LOAD_CORE),
        (["soak.spinner", f"{share:.3f}"], SERVER_CORE),
    ]
    spun = await _beside_honest(engine, honest, attackers, seconds, lambda port: spinners)
    for name, one in (("alone", alone), ("attacked", attacked), ("spinner", spun)):
        crowd = one.crowd
        bad = crowd.asked - crowd.answered + crowd.wrong + crowd.lost
        text = f"{crowd.answered:,} of {crowd.asked:,} answered, {crowd.wrong} wrong, {crowd.lost} connections lost"
        report.add(f"{name}: honest requests", text, f"{bad} were not as they must be" if bad else "")
        report.add(f"{name}: latency", _latencies(crowd.latencies))
        report.add(f"{name}: CPU of the server", f"{one.cpu * 100:.0f} % of its core; {one.stolen:.2f} cores stolen")
    slower = attacked.p99 / spun.p99
    fault = f"expected at most {MOST_SLOWER:g}" if not slower <= MOST_SLOWER else ""
    report.add(
        "p99 attacked / spinner",
        f"{slower:.2f} (the spinners took {share * 100:.0f} and {attacked.load * 100:.0f} %)",
        fault,
    )
    bound = attacked.rss_before + _bound_kib(attackers)
    before, peak = attacked.rss_before / 1024, attacked.rss_peak / 1024
    text = f"{before:.1f} MiB before, {peak:.1f} at most, {bound / 1024:.0f} allowed"
    report.add("memory", text, "more than the limits add up to" if attacked.rss_peak > bound else "")
    return report


def _latencies(seconds: list[float]) -> str:
    return ", ".join(f"p{share:g} {percentile(seconds, share / 100) * 1000:.2f} ms" for share in (50, 90, 99, 99.9))


def _bound_kib(attackers: int) -> float:
    """What the configured limits allow that many peers to hold, plus 64 MiB for the heap's own ways."""
    limits = ConnectionConfig()
    each = limits.outbox_bytes + 2 * limits.backlog_bytes + _READ_SIZE
    return (limits.inbound_bytes + attackers * each) / 1024 + _HEADROOM_KIB


async def _beside_honest(
    engine: str, honest: int, attackers: int, seconds: float, others: Callable[[str], _Others]
) -> _Measured:
    with server(engine, honest + attackers * 4 + 100) as (process, target):
        crowd = Crowd(target, honest, interval=min(1.0, seconds / 10))
        await crowd.enter()
        await crowd.ask_for(crowd.interval)  # warm
        crowd.latencies.clear()
        crowd.asked = crowd.answered = 0
        before = sample(process.pid, 0.0, {})
        with ExitStack() as stack:
            started = [stack.enter_context(beside(*each)) for each in others(str(target[1]))]
            peaks = [before.rss_kib]
            watching = asyncio.create_task(_watch(process.pid, peaks))
            began, lost = asyncio.get_running_loop().time(), stolen()
            await crowd.ask_for(seconds)
            took = asyncio.get_running_loop().time() - began
            after = sample(process.pid, took, {})
            load = sample(started[0], took, {}).cpu / took if started else 0.0
            lost = (stolen() - lost) / took
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await crowd.leave()
        return _Measured(crowd, (after.cpu - before.cpu) / took, load, lost, before.rss_kib, max(*peaks, after.rss_kib))


async def _watch(pid: int, peaks: list[float]) -> None:
    """Notes the server's memory until cancelled."""
    while True:
        await asyncio.sleep(0.1)
        peaks[0] = max(peaks[0], sample(pid, 0.0, {}).rss_kib)


# -- soak --------------------------------------------------------------------------------------------------


async def soak(engine: str, seconds: float, crowd_size: int = 50, attackers: int = 24) -> Report:
    """Honest clients, attackers, churn, broadcasts and failing handlers at once; memory, tasks, descriptors flat."""
    report = Report(f"soak: {seconds:g} s, {engine}")
    with server(engine, crowd_size + attackers * 8 + 400) as (process, target):
        crowd = Crowd(target, crowd_size)
        await crowd.enter()
        control = await Control.over(target)
        loop = asyncio.get_running_loop()
        began, step = loop.time(), max(0.2, seconds / 400)
        load = (attack(target, attackers), _churners(target), _failures(target), _news(target))
        noise = [asyncio.create_task(each) for each in load]
        asking = asyncio.create_task(crowd.ask_for(seconds))
        while not asking.done():
            report.samples.append(sample(process.pid, loop.time() - began, await control.state()))
            await asyncio.wait([asking], timeout=step)
        await asking
        for task in noise:
            task.cancel()
        for ended in await asyncio.gather(*noise, return_exceptions=True):
            if isinstance(ended, Exception):
                report.failures.append(f"the load itself failed: {ended!r}")
        await control.leave()
        await crowd.leave()
    bad = crowd.asked - crowd.answered + crowd.wrong + crowd.lost
    text = f"{crowd.answered:,} of {crowd.asked:,} answered, {crowd.lost} connections lost"
    report.add("honest requests", text, f"{bad} were not as they must be" if bad else "")
    report.add("latency", f"p99 {percentile(crowd.latencies, 0.99) * 1000:.1f} ms")
    for each in flatness(report.samples):
        text = f"{each.early:,.0f} in the second quarter, {each.late:,.0f} in the last"
        report.add(each.name, text, "" if each.flat else f"expected at most {each.allowed:,.0f}")
    return report


async def _churners(target: Target) -> None:
    """Clients that come, ask once, and drop."""
    addresses = Addresses(78)
    while True:
        with suppress(OSError):
            link = await dial(target, addresses.next())
            link.write(message('{"path":"soak://slow","correlationId":"c"}'))
            await asyncio.sleep(0.01)
            link.drop(reset=random.random() < 0.5)


async def _failures(target: Target) -> None:
    """A client whose every request fails, or leads nowhere."""
    link = await dial(target, "127.79.0.1", lambda opcode, payload: None)
    while True:
        for path in ("soak://fail", "soak://none", "soak://echo/../x", "websocket://broadcast"):
            link.write(message(f'{{"path":"{path}","correlationId":"x"}}') + message("nonsense"))
        await asyncio.sleep(0.05)
        if not link.alive:
            link = await dial(target, "127.79.0.1", lambda opcode, payload: None)


async def _news(target: Target) -> None:
    """A client that broadcasts, while some that do not read are there."""
    addresses = Addresses(80)
    link = await dial(target, addresses.next(), lambda opcode, payload: None)
    while True:
        with suppress(OSError):
            slow = await dial(target, addresses.next())
            slow.stop_reading()
            for _ in range(100):
                link.write(message('{"path":"soak://news","body":"' + "x" * 2000 + '","correlationId":"n"}'))
                await asyncio.sleep(0.05)
            slow.drop()
