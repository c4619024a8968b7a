"""The long and hostile runs, small and short: they start, attack, measure and end. The bars are for `make hostile`."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree

import pytest

import soak
from soak.attacks import ATTACKS
from soak.measure import Sample, flatness, percentile
from soak.picture import as_svg

ROOT = Path(soak.__file__).parents[1]


def perform(*arguments: str, output: Path) -> str:
    command = [sys.executable, "-m", "soak", *arguments, "--output", str(output)]
    done = run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_hostile_clients_leave_every_honest_request_answered(tmp_path: Path) -> None:
    sizes = ("--honest", "10", "--attackers", str(len(ATTACKS)), "--seconds", "2")
    table = perform("hostile", *sizes, output=tmp_path)
    assert "p99 attacked / spinner" in table
    failed = [line for line in table.splitlines() if "FAILED" in line and "p99" not in line]
    assert failed == [], table


@pytest.mark.parametrize(
    ("engine", "allocator"), [("picows", "malloc"), ("websockets", "malloc"), ("picows", "pymalloc")]
)
def test_churn_leaves_no_descriptor_and_no_task(engine: str, allocator: str, tmp_path: Path) -> None:
    sizes = ("--connections", "100", "--rounds", "3", "--allocator", allocator)
    table = perform("churn", "--engine", engine, *sizes, output=tmp_path)
    assert table.count("  round ") == 3 and "memory of the last round / round 3" in table
    assert [line for line in table.splitlines() if "FAILED round" in line] == [], table


def test_soak_writes_its_plot(tmp_path: Path) -> None:
    table = perform("soak", "--engine", "websockets", "--seconds", "2", output=tmp_path)
    assert "FAILED honest" not in table and "the load itself" not in table, table
    [plot] = tmp_path.glob("soak-*.svg")
    ElementTree.fromstring(plot.read_text())


def samples(*memory: float) -> list[Sample]:
    return [Sample(float(at), rss, 10, 5, 3, 0.0) for at, rss in enumerate(memory)]


def test_what_grows_is_not_flat() -> None:
    steady, growing = samples(*[50_000] * 40), samples(*[50_000 + 500 * n for n in range(40)])
    assert all(each.flat for each in flatness(steady))
    assert [each.name for each in flatness(growing) if not each.flat] == ["rss_kib"]
    assert "not flat" in as_svg("growing", growing, flatness(growing))
    ElementTree.fromstring(as_svg("nothing", [], []))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == expected
