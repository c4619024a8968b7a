from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mycelia import NotRunning
from mycelia.observability.error_log import ErrorLog, ErrorsConfig
from mycelia.serving.listening_facet import ListeningFacet


class Server(ListeningFacet):
    """A server that listens nowhere and notes what happens to it."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.error: Exception | None = None
        super().__init__("test", ErrorLog(ErrorsConfig(), "server"), None, logging.getLogger("mycelia.server"))

    def is_accepting(self) -> bool:
        return self._running

    def get_address(self) -> tuple[str, int] | None:
        return ("127.0.0.1", 80) if self._running else None

    def get_urls(self) -> list[str]:
        return []

    def snapshot(self) -> dict[str, Any]:
        return {}

    async def _listen(self) -> None:
        self._running = True
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.steps.append("listen")

    async def _shut_down(self) -> None:
        await asyncio.sleep(0)
        self.steps.append("shut down")

    def _report_start(self) -> None:
        self.steps.append("report")


async def test_start_and_stop() -> None:
    server = Server()
    await server.stop()
    assert server.steps == [] and server.get_port() is None
    await server.start()
    assert server.is_running() and server.get_port() == 80
    with pytest.raises(NotRunning, match="the test server is already running"):
        await server.start()
    await asyncio.gather(server.stop(), server.stop())
    assert not server.is_running() and server.steps == ["listen", "report", "shut down"]


async def test_a_start_that_fails_may_be_repeated() -> None:
    server = Server()
    server.error = OSError("in use")
    with pytest.raises(OSError, match="in use"):
        await server.start()
    assert not server.is_running()
    server.error = None
    await server.start()
    assert server.steps == ["listen", "report"]


async def test_a_caller_that_is_cancelled_does_not_cancel_the_stop() -> None:
    server = Server()
    await server.start()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    async with asyncio.timeout(5):
        await server.stop()
    assert server.steps[-1] == "shut down" and server.steps.count("shut down") == 1


async def test_without_certificates_there_is_nothing_to_reload() -> None:
    server = Server()
    server.reload_certificates()
    assert server.errors() == {"total": 0, "errors": []}
