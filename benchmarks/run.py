"""The runner: everybody in turn, `runs` times over, then the medians. `make bench ARGS='--quick'`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.outcome import Result, Sample, State
from benchmarks.plot import as_svg
from benchmarks.report import Run, as_json, as_markdown, entrant_title, verdicts
from benchmarks.scenarios import SCENARIOS, Dialect, Entrant, Scenario, select
from benchmarks.servers.catalogue import SERVERS
from benchmarks.servers.process import Running, ServerFailed, free_port, pinned, running
from benchmarks.toolchain import HERE, Tools, prepare

__all__ = ["main"]

_SERVER_CORE, _LOAD_CORE = 0, 1
_BODY = '{"n":1,"text":"0123456789abcdef%s"}'
_REPLY = '"data":{"n":1,"text":"0123456789abcdef'
_FANOUT_TEXT = "x" * 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the report, writes it to results/. Returns 1 if a bar is missed or Mycelia failed."""
    given = _arguments(arguments)
    try:
        scenarios = select(given.only, given.idle)
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    _raise_file_limit()
    tools = prepare(HERE.parent / "build" / "bench")
    started = datetime.now(UTC)
    run = Run(
        started.strftime("%Y-%m-%d %H:%M UTC"),
        _machine(),
        tools.versions,
        tools.missing,
        {"runs": given.runs, "seconds each": given.duration, "warm-up seconds": given.warm},
        [_measure(scenario, given, tools) for scenario in scenarios],
    )
    written = _write(run, given.results, _file_name(started, given))
    print(f"\nwritten: {', '.join(str(path) for path in written)}")
    found = verdicts(run)
    return 1 if any(verdict.state is State.MISSED or verdict.subject is None for verdict in found) else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--only", type=_names, default=[], metavar="NAME,…", help=f"scenarios among {names}")
    parser.add_argument("--servers", type=_names, default=[], metavar="NAME,…", help=f"among {','.join(SERVERS)}")
    parser.add_argument("--runs", type=int, help="interleaved runs, default 3")
    parser.add_argument("--duration", type=float, help="measured seconds of each, default 5")
    parser.add_argument("--warm", type=float, help="seconds before them, default 1")
    parser.add_argument("--idle", type=int, help="idle connections, default 10000")
    parser.add_argument("--quick", action="store_true", help="one run of 1.5 s, 5000 idle: a look, not a finding")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the report goes")
    given = parser.parse_args(arguments)
    usual = {"runs": 1, "duration": 1.5, "warm": 0.5, "idle": 5000} if given.quick else {}
    for name, value in {"runs": 3, "duration": 5.0, "warm": 1.0, "idle": 10000, **usual}.items():
        if getattr(given, name) is None:
            setattr(given, name, value)
        if getattr(given, name) <= 0:
            parser.error(f"--{name}: expected a number above zero, got {getattr(given, name)}")
    for name in given.servers:
        if name not in SERVERS:
            parser.error(f"--servers: expected some of {', '.join(SERVERS)}, got {name!r}")
    return given


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _measure(scenario: Scenario, given: argparse.Namespace, tools: Tools) -> Result:
    """All rounds of one scenario: A B C, A B C, A B C, a fresh server each time."""
    print(f"\n{scenario.title}", flush=True)
    entrants = [e for e in scenario.entrants if not given.servers or e.server in given.servers]
    samples: dict[str, list[Sample]] = {entrant.key: [] for entrant in entrants}
    for _ in range(given.runs):
        for entrant in entrants:
            sample = _one(scenario, entrant, given, tools)
            if sample is None:
                continue
            samples[entrant.key].append(sample)
            print(f"  {entrant_title(entrant.key):24} {_shown(scenario, sample)}", flush=True)
    return Result(scenario, samples)


def _shown(scenario: Scenario, sample: Sample) -> str:
    if sample.fault:
        return sample.fault
    figures = "  ".join(f"{sample.figures[metric]:>12,.1f} {metric}" for metric in scenario.metrics)
    return figures if scenario.kind == "idle" else f"{figures}  p99 {sample.figures['p99_us']:,.0f} µs"


def _one(scenario: Scenario, entrant: Entrant, given: argparse.Namespace, tools: Tools) -> Sample | None:
    """One server, started, loaded and stopped; None if it does not take part."""
    port = free_port()
    command = SERVERS[entrant.server].command(tools, port, entrant.mode, scenario.connections)
    if command is None:
        return None
    try:
        with running(command, port, _SERVER_CORE) as server:
            return _load(scenario, entrant, given, tools, server)
    except ServerFailed as error:
        return Sample({}, str(error))


def _load(scenario: Scenario, entrant: Entrant, given: argparse.Namespace, tools: Tools, server: Running) -> Sample:
    command = [str(tools.load), scenario.kind, *load_arguments(scenario, entrant)]
    command += ["--port", str(server.port), "--pid", str(server.pid)]
    command += ["--seconds", str(given.duration), "--warm", str(given.warm)]
    allowed = given.duration + given.warm + 120
    try:
        done = subprocess.run(pinned(command, _LOAD_CORE), capture_output=True, text=True, timeout=allowed)
    except subprocess.TimeoutExpired:
        return Sample({}, f"the load did not end within {allowed:.0f} s")
    try:
        line: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return Sample({}, f"the load ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    figures = {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
    return Sample(figures, f"{line['faults']} faults, the first: {line['fault']}" if line["faults"] else "")


def load_arguments(scenario: Scenario, entrant: Entrant) -> Iterator[str]:
    """What the generator is told beyond where the server is and for how long."""
    yield from ("--connections", str(scenario.connections), "--in-flight", str(scenario.in_flight))
    if scenario.kind == "idle":
        yield from ("--settle", "1", "--hold", "2")
        if not scenario.used:
            return
    if scenario.kind == "fanout":
        body = '{"id":%d,"text":"' + _FANOUT_TEXT + _prose(scenario.body_bytes) + '"}'
        yield from ("--message", f'{{"path":"bench://publish","body":{body},"correlationId":"x"}}')
        yield from ("--id-key", '"id":', "--expect", '"text":"' + _FANOUT_TEXT[:40], "--settle", "1")
        return
    body = _BODY % _prose(scenario.body_bytes)
    if entrant.dialect is Dialect.SOCKETIO:
        yield from ("--socketio", "--path", "/socket.io/?EIO=4&transport=websocket")
        event = "bench://echo" if entrant.server.startswith("mycelia") else "echo"
        yield from ("--message", f'42%d["{event}",{body}]', "--id-key", "43")
    else:
        yield from ("--message", f'{{"path":"bench://echo","body":{body},"correlationId":"%d"}}')
        yield from ("--id-key", '"correlationId":"')
    if entrant.dialect is Dialect.ECHO:
        yield from ("--expect", '"body":{"n":1,"text":"0123456789abcdef')
    else:
        yield from ("--expect", '"success":true,' + _REPLY)


def _prose(size: int) -> str:
    """That many letters in words, which a compressor can make about a third of."""
    words = random.Random(size)
    text = " ".join("".join(words.choices("etaoinshrdlu", k=words.randint(2, 9))) for _ in range(size // 3 + 1))
    return text[:size]


def _machine() -> dict[str, str]:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    pinning = (
        f"server on core {_SERVER_CORE}, load on core {_LOAD_CORE}" if cores > 1 else "one core for both: no finding"
    )
    return {
        "processor": f"{processor}, {cores} cores",
        "system": f"{platform.system()} {platform.release()}",
        "pinning": pinning,
        "load average at the start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _file_name(started: datetime, given: argparse.Namespace) -> str:
    """The date; runs that are not the whole say so, so that they never replace one that is."""
    partial = "-partial" if given.only or given.servers else ""
    return started.strftime("%Y-%m-%d") + ("-quick" if given.quick else "") + partial


def _write(run: Run, folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    text = as_markdown(run, f"{name}.svg")
    print("\n" + text)
    contents = {
        ".md": text,
        ".json": json.dumps(as_json(run), indent=1, ensure_ascii=False) + "\n",
        ".svg": as_svg(run),
    }
    for suffix, content in contents.items():
        (folder / f"{name}{suffix}").write_text(content, encoding="utf-8")
    return [folder / f"{name}{suffix}" for suffix in contents]
