"""The command line: `python -m tools.prose [PATH …]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.prose.check import check, configured_paths, files
from tools.prose.report import sample, stats

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run the linter and return the exit status: 1 if it found something, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.prose", description="Check the project's prose.")
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders (default: [tool.prose] paths)")
    parser.add_argument("--sample", type=int, metavar="N", help="print N random docstrings and N random messages")
    parser.add_argument("--seed", type=int, default=0, help="the seed of --sample")
    parser.add_argument("--stats", action="store_true", help="print numbers instead of findings")
    options = parser.parse_args(arguments)
    if missing := [str(path) for path in options.paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    if options.sample is not None:
        print("\n".join(sample(options.paths or [Path("src")], options.sample, options.seed)))
        return 0
    paths = options.paths or configured_paths(Path())
    if options.stats:
        print("\n".join(stats(paths)))
        return 0
    findings = check(paths)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings in {len(files(paths))} files", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
