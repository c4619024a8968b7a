"""A server process that is ready when the block begins and gone when it ends, whatever happens in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

__all__ = ["ServerFailed", "free_port", "pinned", "running"]

_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0
# Those that there were at the start: whoever loads may since have bound itself to one of them.
_CORES = frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset[int]()


class ServerFailed(Exception):
    """A server that did not come up. The text ends with the last lines that it wrote."""

    def __init__(self, command: list[str], what: str, output: str) -> None:
        self.command, self.what, self.output = command, what, output
        tail = " | ".join(output.strip().splitlines()[-3:])
        super().__init__(f"{what}: {tail}" if tail else what)


@dataclass(frozen=True, slots=True)
class Running:
    """What the load needs to know of a server."""

    pid: int
    port: int


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(command: list[str], core: int) -> list[str]:
    """The command, bound to one core where that is possible and there is more than one."""
    taskset = shutil.which("taskset")
    if taskset is None or core not in _CORES:
        return command
    return [taskset, "-c", str(core), *command]


@contextmanager
def running(command: list[str], port: int, core: int) -> Iterator[Running]:
    """Starts `command`, which listens on `port`, waits for it, and ends its process group after the block.

    Raises ServerFailed if it exits, or does not accept within 20 s.
    """
    with tempfile.TemporaryFile(mode="w+") as output:
        process = subprocess.Popen(
            pinned(command, core),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            what = _wait_until_ready(process, port)
            if what is not None:
                output.seek(0)
                raise ServerFailed(command, what, output.read())
            yield Running(process.pid, port)
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> str | None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            try:
                return f"it ended with status {process.wait(timeout=0.05)} before it listened"
            except subprocess.TimeoutExpired:
                continue
        return None
    return f"it did not listen on port {port} within {_READY_SECONDS:.0f} s"


def _end(process: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_SECONDS)
            return
