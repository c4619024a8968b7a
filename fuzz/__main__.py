"""`python -m fuzz TARGET [libFuzzer options] [corpora]`: one target under Atheris, which must be installed."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["mycelia"]):
    from fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit(f"fuzz: expected one of {', '.join(TARGETS)}, got {name!r}")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


main()
