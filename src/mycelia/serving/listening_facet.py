"""The base of a facet that listens: it starts and stops once at a time, and reports its addresses and errors."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any

from mycelia.errors import NotRunning
from mycelia.kernel.building.hook import Api
from mycelia.kernel.facet import Facet
from mycelia.net.certificates import Certificates
from mycelia.observability.error_log import ErrorLog

__all__ = ["ListeningFacet", "register_operations"]


class ListeningFacet(Facet, ABC):
    """A server as a facet: the facets `server` and `websocket` have this base.

    A subclass implements `_listen`, `_shut_down` and `_report_start`. The base calls them one at a time.

    Args:
        title: The kind of server, for errors: "HTTP" or "WebSocket".
        errors: The record of failures that `errors` reports.
        certificates: The TLS certificates; None without TLS.
        logger: The logger of the subsystem.
    """

    def __init__(self, title: str, errors: ErrorLog, certificates: Certificates | None, logger: logging.Logger) -> None:
        self._title, self._errors, self._certificates, self._logger = title, errors, certificates, logger
        self._changing = asyncio.Lock()
        self._running = False

    # -- for users -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start to listen.

        After a failure the server does not listen, and `start` may be called again.

        Raises:
            NotRunning: The server is already running.
            OSError: The address is in use, or not an address of this machine.
            EngineError: The library of the engine is not installed, or does not know an option.
            ConfigError: A certificate file is missing or invalid.
        """
        async with self._changing:
            if self._running:
                raise NotRunning(f"the {self._title} server is already running; stop() it first")
            try:
                await self._listen()
            except BaseException:
                self._running = False
                raise
            self._running = True
        self._report_start()

    async def stop(self) -> None:
        """Stop: take no new clients, finish or close what is left, and return when it is gone or time is up.

        It does nothing if the server is not running.
        """
        # The caller may be a handler that the stop cancels. The stop therefore runs in a task of its own.
        await asyncio.shield(asyncio.create_task(self._stop(), name="mycelia-stop"))

    def is_running(self) -> bool:
        """Return True if the server is running, also if another server serves it (ASGI)."""
        return self._running

    @abstractmethod
    def is_accepting(self) -> bool:
        """Return True if the server takes new clients. It does not while it drains or stops."""

    @abstractmethod
    def get_address(self) -> tuple[str, int] | None:
        """Return the first host and port on which the server listens; None if it does not listen on TCP."""

    def get_port(self) -> int | None:
        """Return the first port on which the server listens. With `port: 0` it is the port that the system chose."""
        address = self.get_address()
        return None if address is None else address[1]

    @abstractmethod
    def get_urls(self) -> list[str]:
        """Return the URLs at which clients reach the server; none if it does not listen itself."""

    def reload_certificates(self) -> None:
        """Read all certificate and key files again. New connections use them; open connections are not affected.

        Raises:
            ConfigError: A file is missing, or certificate and key do not match. The old certificates stay in use.
        """
        if self._certificates is not None:
            self._certificates.reload()
            self._logger.info("The certificates were read again.")

    def errors(self, body: Any = None) -> dict[str, Any]:
        """Return the newest failures, as `{total, errors}`, without any exception message.

        Args:
            body: A mapping whose `limit` is the maximum number of failures (default 20).
        """
        return self._errors.report(body)

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Return the counters and gauges of the server. They are part of `system.statistics()`."""

    # -- for subclasses ------------------------------------------------------------------------------

    @abstractmethod
    async def _listen(self) -> None:
        """Start to listen. After an exception nothing listens. It may set `_running` before the first client comes."""

    @abstractmethod
    async def _shut_down(self) -> None:
        """Stop to listen, and end what is left of all clients."""

    @abstractmethod
    def _report_start(self) -> None:
        """Log the addresses and what clients can call."""

    async def _stop(self) -> None:
        async with self._changing:
            if self._running:
                await self._shut_down()
                self._running = False


def register_operations(facet: ListeningFacet, api: Api, subsystem: str, kind: str) -> None:
    """Register what every server has: the path `errors`, a health check and statistics.

    Args:
        facet: The facet of the server.
        api: The registration API of the hook.
        subsystem: The name of the subsystem.
        kind: The kind of the facet, under which its statistics appear.
    """
    api.register_route(f"{subsystem}://errors", lambda message: facet.errors(message.body))
    if (health := api.find("health")) is not None:
        health.add("accepting", facet.is_accepting)
    if (statistics := api.find("statistics")) is not None:
        statistics.add(kind, facet.snapshot)
