"""An official client from npm, in a process of its own: its script tells of events, and is told what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.harness import within
from tests.support.parts import NodeClients

__all__ = ["NpmClient", "npm_client"]


class NpmClient:
    """What the script says are JSON arrays that begin with the name of an event, one a line; so is what it reads."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._passed: list[list[Any]] = []

    async def until(self, event: str) -> list[Any]:
        """What comes with the next event of that name; others wait."""
        for passed in self._passed:
            if passed[0] == event:
                self._passed.remove(passed)
                return passed[1:]
        assert self._process.stdout is not None
        while line := await within(self._process.stdout.readline()):
            said: list[Any] = json.loads(line)
            if said[0] == event:
                return said[1:]
            self._passed.append(said)
        pytest.fail(f"the client ended without {event}")

    def emit(self, *values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values).encode() + b"\n")

    async def ask(self, path: str, body: Any = None, attachment: str = "") -> Any:
        """The ack of an event."""
        self.emit(path, body, attachment)
        [answer] = await self.until("ack")
        return answer


@asynccontextmanager
async def npm_client(clients: NodeClients, script: str, *arguments: str) -> AsyncIterator[NpmClient]:
    process = await asyncio.create_subprocess_exec(
        clients.node, "--eval", script, *arguments, cwd=clients.folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield NpmClient(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
