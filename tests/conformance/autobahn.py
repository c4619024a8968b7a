"""Runs the Autobahn fuzzing client against `python -m mycelia.testing.echo` and judges the reports.

`make conformance` installs the suite and calls this. The exit status is 0 only if cases ran on every
engine and none FAILED, in its messages or its close, but those of `EXPECTED`.

`--engine asgi --server uvicorn` (or granian) runs `mycelia.testing.asgi` under that server. Frames are the server's
there, so whatever FAILED is run once more against a bare echo application (`tests/conformance/bare.py`) under the same
server: only what fails there too is let through. `--engine bare` runs that one alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["EXPECTED", "Verdict", "main", "read_verdicts", "surprises", "table"]

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("picows", "websockets")
ASGI = {"asgi": "mycelia.testing.asgi:application", "bare": "tests.conformance.bare:application"}
SERVERS = {
    "uvicorn": "-m uvicorn --factory --log-level error --ws websockets-sansio --ws-max-size {most}",
    "granian": "-m granian --factory --log-level error --interface asgi",
}
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*", "13.*")
MAX_SIZE = 64 * 1024 * 1024  # 9.* sends messages of up to 16 MiB, in fragments too
OUTCOMES = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")

# After a Close inside a fragmented message, websockets answers the Close; the suite wants the message
# ignored, the library documents its choice.
EXPECTED: frozenset[tuple[str, str]] = frozenset({("websockets", "7.1.5")})


@dataclass(frozen=True)
class Verdict:
    """What the suite says of one case: the messages, and how the connection was closed."""

    case: str
    behavior: str
    close: str

    @property
    def outcome(self) -> str:
        """The worse of the two."""
        return max(self.behavior, self.close, key=_severity)

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.case.split("."))


def read_verdicts(index: Mapping[str, Mapping[str, str | int]]) -> list[Verdict]:
    """The verdicts of one agent's part of the suite's index.json, in the order of the cases."""
    found = [Verdict(case, str(entry["behavior"]), str(entry["behaviorClose"])) for case, entry in index.items()]
    return sorted(found, key=lambda verdict: verdict.order)


def failures(verdicts: Sequence[Verdict]) -> list[str]:
    """The cases that FAILED."""
    return [verdict.case for verdict in verdicts if _bucket(verdict.outcome) == "FAILED"]


def surprises(engine: str, verdicts: Sequence[Verdict], allowed: Collection[str] = ()) -> list[str]:
    """Why this engine does not pass, one line each; empty when it does. The cases of `allowed` may fail."""
    if not verdicts:
        return [f"{engine}: no case ran"]
    failed = {*failures(verdicts)} - {*allowed} - {case for name, case in EXPECTED if name == engine}
    return [
        f"{engine} {verdict.case}: {verdict.behavior}, close {verdict.close}"
        for verdict in verdicts
        if verdict.case in failed
    ]


def table(results: Mapping[str, Sequence[Verdict]]) -> str:
    """Counts per engine, then every case that is not plainly OK."""
    lines = ["engine".ljust(16) + "".join(name.rjust(15) for name in OUTCOMES) + "total".rjust(8)]
    for engine, verdicts in results.items():
        counts = Counter(_bucket(verdict.outcome) for verdict in verdicts)
        row = "".join(str(counts[name]).rjust(15) for name in OUTCOMES)
        lines.append(engine.ljust(16) + row + str(len(verdicts)).rjust(8))
    for engine, verdicts in results.items():
        for verdict in verdicts:
            if verdict.outcome != "OK":
                lines.append(f"{engine} {verdict.case}: {verdict.behavior}, close {verdict.close}")
    return "\n".join(lines)


class Subject(NamedTuple):
    """What is tested: the name of its reports, and what starts it; `{port}` and `{most}` are to be filled in."""

    name: str
    command: str

    @classmethod
    def under(cls, server: str, engine: str) -> Subject:
        words = f"{sys.executable} {SERVERS[server]} --host 127.0.0.1 --port {{port}} {ASGI[engine]}"
        return cls(f"{engine}-{server}", words)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    shutil.rmtree(options.reports, ignore_errors=True)
    cases = options.cases or CASES
    results: dict[str, Sequence[Verdict]] = {}
    problems: list[str] = []
    for engine in options.engine or ENGINES:
        if engine not in ASGI:
            subject = Subject(engine, f"{options.echo} --engine {engine} --port {{port}} --max-size {{most}} --deflate")
            found = results[engine] = _run(subject, cases, options)
            problems += surprises(engine, found)
            continue
        for server in options.server or SERVERS:
            subject = Subject.under(server, engine)
            found = results[subject.name] = _run(subject, cases, options)
            if engine == "bare":
                continue
            bare = Subject.under(server, "bare")
            if failed := failures(found):
                results[bare.name] = _run(bare, failed, options)
            problems += surprises(subject.name, found, failures(results.get(bare.name, ())))
    print(table(results))
    if problems:
        print(f"{len(problems)} failure(s) that are not allowed:", *problems, sep="\n  ")
    print(f"Reports: {options.reports}/<engine>/index.html")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wstest", type=Path, required=True, help="the suite's command")
    parser.add_argument("--reports", type=Path, required=True, help="where the suite writes; emptied first")
    known = f"one engine, or asgi, or bare; repeatable (default: {' '.join(ENGINES)})"
    parser.add_argument("--engine", action="append", help=known)
    servers = f"a server for asgi and bare, repeatable (default: {' '.join(SERVERS)})"
    parser.add_argument("--server", action="append", choices=SERVERS, help=servers)
    parser.add_argument("--cases", action="append", help=f"a pattern, repeatable (default: {' '.join(CASES)})")
    parser.add_argument(
        "--echo",
        default=f"{sys.executable} -m mycelia.testing.echo",
        help="the echo server of the other engines; gets --engine, --port, --max-size and --deflate",
    )
    parser.add_argument("--time-limit", type=float, default=1800.0, help="seconds for one engine")
    return parser


def _run(subject: Subject, cases: Sequence[str], options: argparse.Namespace) -> list[Verdict]:
    with _running(subject) as port:
        return _fuzz(subject.name, port, cases, options)


@contextmanager
def _running(subject: Subject) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    words = subject.command.format(port=port, most=MAX_SIZE).split()
    with subprocess.Popen(words, cwd=ROOT) as server:
        try:
            _wait_until_open(server, port)
            yield port
            if server.poll() is not None:
                sys.exit(f"the server of {subject.name} ended during the run, with status {server.returncode}")
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_open(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(100):
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
        else:
            sys.exit(f"the echo server ended at once, with status {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    sys.exit(f"the echo server does not listen on port {port}")


def _fuzz(engine: str, port: int, cases: Sequence[str], options: argparse.Namespace) -> list[Verdict]:
    folder: Path = options.reports / engine
    folder.mkdir(parents=True)
    spec = folder / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(folder.resolve()),
                "servers": [{"agent": engine, "url": f"ws://127.0.0.1:{port}"}],
                "cases": list(cases),
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    command = [str(options.wstest), "-m", "fuzzingclient", "-s", str(spec)]
    with (folder / "log.txt").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, timeout=options.time_limit)
    index = json.loads((folder / "index.json").read_text())
    return read_verdicts(index.get(engine, {}))


def _severity(outcome: str) -> int:
    return OUTCOMES.index(_bucket(outcome))


def _bucket(outcome: str) -> str:
    # The suite has more words for a failed close (WRONG CODE, UNCLEAN, FAILED BY CLIENT).
    return outcome if outcome in OUTCOMES else "FAILED"


if __name__ == "__main__":
    sys.exit(main())
