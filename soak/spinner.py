"""Takes a share of one core and does nothing: `python -m soak.spinner 0.35`."""

from __future__ import annotations

import sys
import threading
import time

__all__ = ["main"]

_PERIOD = 0.005


def main() -> None:
    share, pause = float(sys.argv[1]), threading.Event()
    while True:
        began, used = time.perf_counter(), time.process_time()
        while time.process_time() - used < share * _PERIOD:
            pass
        pause.wait(max(0.0, _PERIOD - (time.perf_counter() - began)))


if __name__ == "__main__":
    main()
