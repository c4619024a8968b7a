"""Health probes: whether the process lives, whether it takes requests, and the health of its subsystems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import unquote

from mycelia.errors import RouteError
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault
from mycelia.server.config import HealthConfig
from mycelia.server.response import HttpResponse, envelope_response, failure_response
from mycelia.server.router import HttpRoute
from mycelia.serving.responses import outcome_response

__all__ = ["PROBES", "Probes", "check_no_probe"]

PROBES = ("health", "ready", "live")


def check_no_probe(route: HttpRoute, config: HealthConfig) -> None:
    """Raise RouteError for a route that never runs, because a probe answers its path."""
    if route.method in ("GET", "HEAD") and (probe := _paths(config).get(route.path)) is not None:
        problem = f"is the path of a probe; set health.{probe} to another path or to None"
        raise RouteError(route.path, problem)


def _paths(config: HealthConfig) -> dict[str, str]:
    """Return the probes by their decoded path."""
    return {unquote(path): probe for probe in PROBES if (path := getattr(config, probe)) is not None}


class Probes:
    """Answers the probes, at their HTTP paths and at `server://health`, `server://ready` and `server://live`.

    Args:
        config: The paths, and how much the HTTP responses report.
        health: Returns the health of the whole system.
        is_accepting: Returns True if the server takes new requests.

    Attributes:
        paths: The probes by their decoded HTTP path.
    """

    def __init__(
        self,
        config: HealthConfig,
        health: Callable[[], Coroutine[Any, Any, dict[str, Any]]],
        is_accepting: Callable[[], bool],
    ) -> None:
        self._health, self._is_accepting, self._details = health, is_accepting, config.details
        self._checking: asyncio.Task[dict[str, Any]] | None = None
        self.paths: Mapping[str, str] = _paths(config)

    async def report(self, probe: str) -> dict[str, Any]:
        """Return `{"live": True}`, `{"ready": bool}`, or `{"healthy": bool, "subsystems": {…}}`.

        A server is ready if the system is healthy and takes new requests, thus not while the system or server drains.
        """
        if probe == "live":
            return {"live": True}
        report = await self._check_health()
        return {"ready": report["healthy"] and self._is_accepting()} if probe == "ready" else report

    async def respond(self, probe: str, trace_id: str) -> HttpResponse:
        """Return status 200 or 503. The response names subsystems only if `health.details` is set."""
        report = await self.report(probe)
        is_good = next(iter(report.values())) is True
        shown = report if self._details else {name: each for name, each in report.items() if isinstance(each, bool)}
        if is_good:
            return envelope_response(outcome_response({"success": True, "data": shown}, None, trace_id), 200)
        return failure_response(Fault(Code.OVERLOADED, f"not {next(iter(report))}", shown, True), trace_id)

    def close(self) -> None:
        """Cancel a health check that is running."""
        if self._checking is not None:
            self._checking.cancel()

    async def _check_health(self) -> dict[str, Any]:
        """Return the health of the system.

        All concurrent probes share one check: any client can send probes, and a check may be expensive.
        """
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._health(), name="mycelia-health")
        return await asyncio.shield(self._checking)
