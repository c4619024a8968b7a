"""What a run measured and what follows from it: medians, spreads, ratios, verdicts. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from benchmarks.scenarios import Bar, Scenario

__all__ = ["NOISY_SPREAD", "Result", "Sample", "State", "Verdict", "judge"]

NOISY_SPREAD = 0.15  # differences below this are no finding on a shared machine


class State(StrEnum):
    AIM = "aim reached"
    MET = "met"
    MISSED = "NOT MET"
    REPORTED = "reported"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one entrant: the generator's figures, or why there are none that count."""

    figures: Mapping[str, float]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All samples of one scenario, by entrant key in the order of the scenario."""

    scenario: Scenario
    samples: Mapping[str, Sequence[Sample]]

    def values(self, key: str, figure: str) -> list[float]:
        """The figure in every sample without a fault."""
        good = [sample for sample in self.samples.get(key, ()) if not sample.fault]
        return [sample.figures[figure] for sample in good if figure in sample.figures]

    def median(self, key: str, figure: str) -> float | None:
        values = self.values(key, figure)
        return median(values) if values else None

    def spread(self, key: str, figure: str) -> float | None:
        """Largest minus smallest, as a share of the median; None where one sample says nothing of it."""
        values = self.values(key, figure)
        middle = median(values) if len(values) > 1 else 0.0
        return (max(values) - min(values)) / middle if middle > 0 else None

    def faults(self, key: str) -> list[str]:
        return [sample.fault for sample in self.samples.get(key, ()) if sample.fault]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what the run says of it. `figure` is the ratio, or, where asked, the difference."""

    bar: Bar
    subject: float | None
    rival: float | None
    figure: float | None
    state: State
    noisy: bool = False


def judge(bar: Bar, results: Mapping[str, Result]) -> Verdict:
    """The verdict on one bar; UNKNOWN where either side was not measured."""
    result = results.get(bar.scenario)
    subject = result.median(bar.subject, bar.metric) if result else None
    rival = result.median(bar.rival, bar.metric) if result else None
    if result is None or subject is None or rival is None or (rival == 0 and not bar.difference):
        return Verdict(bar, subject, rival, None, State.UNKNOWN)
    figure = subject - rival if bar.difference else subject / rival
    spreads = (result.spread(bar.subject, bar.metric), result.spread(bar.rival, bar.metric))
    noisy = any(spread is not None and spread > NOISY_SPREAD for spread in spreads)
    return Verdict(bar, subject, rival, figure, _state(bar, figure), noisy)


def _state(bar: Bar, figure: float) -> State:
    def passes(bound: float | None) -> bool:
        return bound is not None and (figure <= bound if bar.at_most else figure >= bound)

    if passes(bar.aim):
        return State.AIM
    if bar.required is None:
        return State.REPORTED
    return State.MET if passes(bar.required) else State.MISSED
