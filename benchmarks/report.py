"""A run as Markdown for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.outcome import NOISY_SPREAD, Result, State, Verdict, judge
from benchmarks.scenarios import BARS, LESS_IS_BETTER, Bar, Metric, Scenario
from benchmarks.servers.catalogue import SERVERS, capacity

__all__ = ["Run", "as_json", "as_markdown", "entrant_title", "verdicts"]

_HEADS = {
    Metric.RATE: "per second",
    Metric.KIB: "KiB each",
    Metric.ACCEPTS: "accepts per second",
    Metric.CPU: "CPU µs each",
}
_BOUND_LOAD = 0.95  # a generator busier than this limits what it measures


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a report says."""

    started: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    settings: Mapping[str, Any]
    results: Sequence[Result] = field(default_factory=tuple)


def entrant_title(key: str) -> str:
    """`ws echo` → `npm ws, echo`; the mode is left out where it is what everybody does."""
    server, _, mode = key.partition(" ")
    title = SERVERS[server].title if server in SERVERS else server
    return f"{title}, echo" if mode == "echo" else title


def verdicts(run: Run) -> list[Verdict]:
    """One verdict for each bar whose scenario took part."""
    results = {result.scenario.name: result for result in run.results}
    return [judge(bar, results) for bar in BARS if bar.scenario in results]


def as_markdown(run: Run, plot: str) -> str:
    """The whole report; `plot` is the file name of the picture beside it."""
    lines = [f"# Benchmark of {run.started}", "", f"![The figures as bars]({plot})", ""]
    lines += [f"- {name}: {value}" for name, value in run.machine.items()]
    lines.append("- versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()))
    lines.append("- settings: " + ", ".join(f"{name} {value}" for name, value in run.settings.items()))
    lines.append(f"- every protection of Mycelia at its default; {_raised(run)}")
    lines += [f"- not taking part: {name} ({why})" for name, why in run.missing.items()]
    lines += ["", "## Bars", "", *_verdict_table(verdicts(run))]
    for result in run.results:
        lines += ["", f"## {result.scenario.title}", "", *_result_table(result)]
    lines += ["", "How to read this: [README.md](../README.md).", ""]
    return "\n".join(lines)


def _raised(run: Run) -> str:
    raised = {result.scenario.name: capacity(result.scenario.connections) for result in run.results}
    shown = [f"{number} for {name}" for name, number in raised.items() if number is not None]
    return "`maxConnections` raised to " + ", ".join(shown) if shown else "nothing raised"


def _verdict_table(found: Sequence[Verdict]) -> list[str]:
    lines = ["| scenario | measure | Mycelia | rival | | required | aim | verdict |"]
    lines.append("|---|---|--:|---|--:|--:|--:|---|")
    for verdict in found:
        bar = verdict.bar
        rival = f"{entrant_title(bar.rival)}: {_number(verdict.rival, bar.metric)}"
        state = f"**{verdict.state}**" if verdict.state is State.MISSED else str(verdict.state)
        noise = f" (noisy: spread over {NOISY_SPREAD:.0%})" if verdict.noisy else ""
        bounds = f"{_bound(bar, bar.required)} | {_bound(bar, bar.aim)}"
        lines.append(
            f"| {bar.scenario} | {_HEADS[bar.metric]} | {_number(verdict.subject, bar.metric)} | {rival} "
            f"| {_figure(bar, verdict.figure)} | {bounds} | {state}{noise} |"
        )
    return lines


def _result_table(result: Result) -> list[str]:
    scenario = result.scenario
    heads = [_HEADS[metric] for metric in scenario.metrics]
    latency = scenario.kind != "idle"
    if latency:
        heads += ["p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "server CPU", "load CPU"]
    heads += ["of Mycelia", "spread"]
    lines = ["| server | " + " | ".join(heads) + " |", "|---" + "|--:" * len(heads) + "|"]
    first = scenario.metrics[0]
    ours = result.median(scenario.entrants[0].key, first)
    for key in _ranked(result):
        cells = [_number(result.median(key, metric), metric) for metric in scenario.metrics]
        if latency:
            cells += [_micro(result.median(key, f"{name}_us")) for name in ("p50", "p90", "p99", "p999")]
            cells += [_share(result.median(key, "server_cpu")), _load(result.median(key, "load_cpu"))]
        value = result.median(key, first)
        cells.append(f"{value / ours:.2f}×" if value is not None and ours else "–")
        cells.append(_share(result.spread(key, first)))
        lines.append(f"| {entrant_title(key)} | " + " | ".join(cells) + " |")
    for key in result.samples:
        lines += [line for fault in sorted(set(result.faults(key))) for line in ("", f"{entrant_title(key)}: {fault}")]
    return lines


def _ranked(result: Result) -> list[str]:
    """Entrant keys, best first; who was not measured comes last."""
    metric = result.scenario.metrics[0]
    sign = 1 if metric in LESS_IS_BETTER else -1

    def place(key: str) -> tuple[bool, float]:
        value = result.median(key, metric)
        return (value is None, sign * (value or 0.0))

    return sorted(result.samples, key=place)


def _number(value: float | None, metric: Metric) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if metric in LESS_IS_BETTER else f"{value:,.0f}"


def _figure(bar: Bar, figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:+.1f} KiB" if bar.difference else f"{figure:.2f}×"


def _bound(bar: Bar, bound: float | None) -> str:
    if bound is None:
        return "–"
    sign = "≤" if bar.at_most else "≥"
    return f"{sign} {bound:+.1f} KiB" if bar.difference else f"{sign} {bound:.2f}×"


def _micro(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _load(value: float | None) -> str:
    return _share(value) + (" !" if value is not None and value > _BOUND_LOAD else "")


def as_json(run: Run) -> dict[str, Any]:
    """Every sample, every median and every verdict, in types that JSON has."""
    return {
        "started": run.started,
        "machine": dict(run.machine),
        "versions": dict(run.versions),
        "missing": dict(run.missing),
        "settings": dict(run.settings),
        "results": [_result_json(result) for result in run.results],
        "bars": [
            {**asdict(v.bar), "subject_value": v.subject, "rival_value": v.rival, "figure": v.figure}
            | {"state": str(v.state), "noisy": v.noisy}
            for v in verdicts(run)
        ],
    }


def _result_json(result: Result) -> dict[str, Any]:
    scenario: Scenario = result.scenario
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "connections": scenario.connections,
        "in_flight": scenario.in_flight,
        "maxConnections": capacity(scenario.connections),
        "entrants": {
            key: {
                "medians": {str(metric): result.median(key, metric) for metric in scenario.metrics},
                "samples": [{**sample.figures, "fault": sample.fault} for sample in samples],
            }
            for key, samples in result.samples.items()
        },
    }
