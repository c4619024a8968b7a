"""Takes a share of one core and does nothing: `python -m soak.spinner 0.35`, or `--idle 0.35` to give way."""

from __future__ import annotations

import argparse
import threading
import time

from soak.wire import yield_core

__all__ = ["main"]

_PERIOD = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description="A share of one core")
    parser.add_argument("share", type=float)
    parser.add_argument("--idle", action="store_true")
    given = parser.parse_args()
    if given.idle:
        yield_core()
    share, pause = given.share, threading.Event()
    while True:
        began, used = time.perf_counter(), time.process_time()
        while time.process_time() - used < share * _PERIOD:
            pass
        pause.wait(max(0.0, _PERIOD - (time.perf_counter() - began)))


if __name__ == "__main__":
    main()
