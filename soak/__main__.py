"""`python -m soak hostile|churn|soak [options]`: prints a table; the exit status is 1 when something failed."""

from __future__ import annotations

import argparse
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from soak.attacks import ATTACKS
from soak.churn import ALLOCATORS, churn
from soak.measure import flatness
from soak.picture import as_svg
from soak.run import Report, hostile, prepare, soak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m soak", description="Hostile and long runs")
    parser.add_argument("run", choices=("hostile", "churn", "soak"))
    parser.add_argument("--engine", default="picows", choices=("picows", "websockets"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--honest", type=int, default=1000)
    parser.add_argument("--attackers", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", default=(), choices=tuple(ATTACKS), help="hostile: these attacks only")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--allocator", default="malloc", choices=ALLOCATORS, help="churn: of the server's memory")
    parser.add_argument("--output", type=Path, default=Path("build/soak"))
    given = parser.parse_args()
    prepare()
    work: Coroutine[Any, Any, Report]
    if given.run == "hostile":
        work = hostile(given.engine, given.honest, given.attackers, given.seconds, given.kinds)
    elif given.run == "churn":
        work = churn(given.engine, given.connections, given.rounds, given.allocator)
    else:
        work = soak(given.engine, given.seconds)
    report = uvloop.run(work)
    print(report.as_text())
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"{given.run}-{given.engine}-{datetime.now(UTC):%Y%m%d-%H%M}"
    (given.output / f"{name}.txt").write_text(report.as_text() + "\n")
    if report.samples:
        verdicts = flatness(report.samples) if given.run == "soak" else []
        picture = given.output / f"{name}.svg"
        picture.write_text(as_svg(report.title, report.samples, verdicts))
        print(f"  {picture}")
    raise SystemExit(1 if report.failures else 0)


main()
