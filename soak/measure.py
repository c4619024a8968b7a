"""What the kernel says of a process, and the arithmetic of what was measured."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["Flatness", "Sample", "flatness", "forget_peak", "percentile", "sample", "stolen"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment: seconds since the beginning, KiB, counts, and the CPU seconds that it has used.

    `peak_kib` is the most that was resident since the process began, or since `forget_peak`.
    """

    at: float
    rss_kib: float
    descriptors: float
    tasks: float
    connections: float
    cpu: float
    peak_kib: float = 0.0


def sample(pid: int, at: float, state: dict[str, int]) -> Sample:
    """Reads /proc; `state` is what the server says of itself."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    rss, peak = (float(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    times = (process / "stat").read_text().rpartition(")")[2].split()
    cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    descriptors = len(os.listdir(process / "fd"))
    return Sample(at, rss, descriptors, state.get("tasks", 0), state.get("connections", 0), cpu, peak)


def forget_peak(pid: int) -> None:
    """From now on `peak_kib` is counted anew, where the kernel can do that."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def stolen() -> float:
    """Seconds of all cores together that a virtual machine wanted to run and its host did not let it."""
    with suppress(OSError):
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Flatness:
    """One figure over a run: the medians of its second and its last quarter, and what the last may be."""

    name: str
    early: float
    late: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it did not grow beyond what is noise."""
        return self.late <= self.allowed


def flatness(samples: Sequence[Sample]) -> list[Flatness]:
    """Memory may grow by 3 % and 2 MiB, tasks and descriptors by 10 % and 10: the load goes up and down."""
    found = []
    for name, share, extra in (("rss_kib", 1.03, 2048.0), ("tasks", 1.1, 10.0), ("descriptors", 1.1, 10.0)):
        values = [float(getattr(each, name)) for each in samples]
        quarter = max(1, len(values) // 4)
        early, late = median(values[quarter : 2 * quarter] or values), median(values[-quarter:])
        found.append(Flatness(name, early, late, early * share + extra))
    return found
