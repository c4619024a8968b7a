"""The arithmetic and the words of a benchmark report; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks.outcome import Result, Sample, State, judge
from benchmarks.plot import as_svg
from benchmarks.report import Run, as_json, as_markdown, verdicts
from benchmarks.run import load_arguments
from benchmarks.scenarios import BARS, SCENARIOS, Bar, Metric, Scenario, select
from benchmarks.servers.catalogue import SERVERS

SCENARIO = SCENARIOS[0]


def result(figures: Mapping[str, Sequence[float]], metric: Metric = Metric.RATE) -> Result:
    return Result(SCENARIO, {key: [Sample({metric: v}) for v in values] for key, values in figures.items()})


def run_of(*results: Result) -> Run:
    return Run("2026-01-02 03:04 UTC", {"processor": "<test>"}, {"python": "3"}, {}, {"runs": 3}, results)


def full(scenario: Scenario) -> Result:
    figures = {str(metric): 100.0 for metric in scenario.metrics}
    figures |= {f"{name}_us": 10.0 for name in ("p50", "p90", "p99", "p999")}
    figures |= {"server_cpu": 1.0, "load_cpu": 0.99}
    return Result(scenario, {entrant.key: [Sample(figures)] * 3 for entrant in scenario.entrants})


AT_LEAST = Bar("rpc64x1", Metric.RATE, "limit rpc", 0.40, 0.50)
AT_MOST = Bar("rpc64x1", Metric.KIB, "limit rpc", 1.0, at_most=True)
ABOVE = Bar("rpc64x1", Metric.KIB, "limit rpc", None, 2.0, at_most=True, difference=True)


@pytest.mark.parametrize(
    ("bar", "ours", "rival", "figure", "state"),
    [
        (AT_LEAST, 50, 100, 0.5, State.AIM),
        (AT_LEAST, 45, 100, 0.45, State.MET),
        (AT_LEAST, 40, 100, 0.4, State.MET),
        (AT_LEAST, 39, 100, 0.39, State.MISSED),
        (AT_LEAST, 39, 0, None, State.UNKNOWN),
        (AT_MOST, 14, 14, 1.0, State.MET),
        (AT_MOST, 15, 10, 1.5, State.MISSED),
        (ABOVE, 13, 12, 1, State.AIM),
        (ABOVE, 15, 12, 3, State.REPORTED),
        (replace(AT_LEAST, required=None, aim=None), 1, 100, 0.01, State.REPORTED),
    ],
)
def test_a_verdict_follows_from_two_medians(
    bar: Bar, ours: float, rival: float, figure: float | None, state: State
) -> None:
    verdict = judge(bar, {"rpc64x1": result({"mycelia rpc": [ours], "limit rpc": [rival]}, bar.metric)})
    assert (verdict.figure, verdict.state) == (figure, state)


def test_a_side_that_was_not_measured_leaves_the_bar_open() -> None:
    assert judge(AT_LEAST, {}).state is State.UNKNOWN
    assert judge(AT_LEAST, {"rpc64x1": result({"mycelia rpc": [1]})}).state is State.UNKNOWN


def test_a_sample_with_a_fault_counts_for_nothing() -> None:
    samples = [Sample({"rate": 10}), Sample({"rate": 1000}, "a reply was wrong"), Sample({"rate": 20})]
    measured = Result(SCENARIO, {"mycelia rpc": samples})
    assert measured.median("mycelia rpc", "rate") == 15
    assert measured.faults("mycelia rpc") == ["a reply was wrong"]


def test_a_spread_beyond_the_noise_rule_is_marked() -> None:
    quiet = result({"mycelia rpc": [95, 100, 105], "limit rpc": [200, 200, 200]})
    loud = result({"mycelia rpc": [80, 100, 105], "limit rpc": [200, 200, 200]})
    assert not judge(AT_LEAST, {"rpc64x1": quiet}).noisy
    assert judge(AT_LEAST, {"rpc64x1": loud}).noisy


def test_every_bar_names_a_scenario_and_two_of_its_entrants() -> None:
    entrants = {scenario.name: {entrant.key for entrant in scenario.entrants} for scenario in SCENARIOS}
    for bar in BARS:
        assert {bar.subject, bar.rival} <= entrants[bar.scenario]


def test_every_entrant_has_a_server() -> None:
    assert {entrant.server for scenario in SCENARIOS for entrant in scenario.entrants} == SERVERS.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_message_is_json_once_its_id_is_filled_in(scenario: Scenario) -> None:
    for entrant in scenario.entrants:
        arguments = list(load_arguments(scenario, entrant))
        if scenario.kind == "idle" and not scenario.used:
            assert "--message" not in arguments
            continue
        message = arguments[arguments.index("--message") + 1].replace("%d", "100000000000")
        start = min(place for place in (message.find("{"), message.find("[")) if place >= 0)
        json.loads(message[start:])


def test_a_report_has_every_scenario_bar_and_entrant() -> None:
    run = run_of(*[full(scenario) for scenario in SCENARIOS])
    text = as_markdown(run, "plot.svg")
    assert len(verdicts(run)) == len(BARS)
    for scenario in SCENARIOS:
        assert f"## {scenario.title}" in text
    assert "99% !" in text  # the generator was the bottleneck
    assert "`maxConnections` raised to 1100 for fanout1000x1" in text
    json.dumps(as_json(run), allow_nan=False)


def test_the_plot_is_well_formed_with_a_bar_for_each_figure() -> None:
    results = [full(scenario) for scenario in SCENARIOS]
    picture = ElementTree.fromstring(as_svg(run_of(*results)))
    rectangles = [r.get("class") for r in picture.iter("{http://www.w3.org/2000/svg}rect")]
    expected = sum(len(result.samples) * len(result.scenario.metrics) for result in results)
    assert rectangles.count("track") == expected


def test_a_report_of_nothing_is_still_a_report() -> None:
    empty = Result(SCENARIO, {"mycelia rpc": [Sample({}, "it did not start")]})
    assert "it did not start" in as_markdown(run_of(empty), "plot.svg")
    ElementTree.fromstring(as_svg(run_of(empty)))


def test_scenarios_are_chosen_by_name() -> None:
    assert [scenario.name for scenario in select(["idle", "rpc1x1"], 50)] == ["idle", "rpc1x1"]
    assert select(["idle"], 50)[0].connections == 50
    with pytest.raises(ValueError, match="'nothing'"):
        select(["nothing"], 50)
