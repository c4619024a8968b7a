"""What this process holds open, so that a test can be asked to hold nothing more at its end."""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass

__all__ = ["GRACE", "Holdings"]

GRACE = 2.0  # seconds in which a thread that is already ending may end


@dataclass(frozen=True)
class Holdings:
    """Open sockets (by inode), living threads and child processes at one moment.

    Sockets and children are read from /proc and thus empty where there is none.
    """

    sockets: frozenset[str]
    threads: frozenset[threading.Thread]
    children: frozenset[str]

    @classmethod
    def now(cls) -> Holdings:
        return cls(_sockets(), frozenset(threading.enumerate()), _children())

    def left_behind(self, grace: float = GRACE) -> list[str]:
        """What is held now and was not held then, in words; unreachable objects are collected first."""
        now = Holdings.now()
        if late := now.threads - self.threads:
            for thread in late:
                thread.join(grace)
            now = Holdings.now()
        if now.sockets - self.sockets:
            gc.collect()
            now = Holdings.now()
        return [
            *(f"open {name}" for name in sorted(now.sockets - self.sockets)),
            *(f"thread {thread.name}" for thread in now.threads - self.threads),
            *(f"child process {pid}" for pid in sorted(now.children - self.children)),
        ]


# By `os` rather than `pathlib`: this runs before and after each of thousands of tests.


def _sockets() -> frozenset[str]:
    found = set()
    for name in _listing("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # closed since the listing, which itself used a descriptor
            continue
        if target.startswith("socket:"):
            found.add(target)
    return frozenset(found)


def _children() -> frozenset[str]:
    found: set[str] = set()
    for name in _listing("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/children") as children:
                found.update(children.read().split())
        except OSError:  # the thread ended since the listing
            continue
    return frozenset(found)


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
