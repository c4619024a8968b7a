"""What probes are told: whether the process lives, whether it takes work, how its parts are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mycelia.errors import RouteError
from mycelia.kernel.system import MessageSystem
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault
from mycelia.server.config import HealthConfig
from mycelia.server.requests.reply import Reply, fault_reply, response_reply
from mycelia.server.requests.router import HttpRoute
from mycelia.serving.error_responses import outcome_response

__all__ = ["KINDS", "Probes", "check_no_probe"]

KINDS = ("health", "ready", "live")


def check_no_probe(route: HttpRoute, config: HealthConfig) -> None:
    """Raises RouteError for a route that a probe would answer instead."""
    if route.method in ("GET", "HEAD") and (kind := _paths(config).get(route.path)) is not None:
        raise RouteError(route.path, f"is where probes ask; health.{kind} may say another path, or None")


def _paths(config: HealthConfig) -> dict[str, str]:
    """Which probe asks at which path."""
    return {path: kind for kind in KINDS if (path := getattr(config, kind)) is not None}


class Probes:
    """The answers of `server://health`, `server://ready` and `server://live`, and of their HTTP paths."""

    def __init__(self, config: HealthConfig, system: MessageSystem, accepting: Callable[[], bool]) -> None:
        self._system, self._accepting, self._details = system, accepting, config.details
        self._asked: asyncio.Task[dict[str, Any]] | None = None
        self.paths = _paths(config)

    async def report(self, kind: str) -> dict[str, Any]:
        """`{"live": True}`, `{"ready": bool}`, or `{"healthy": bool, "subsystems": {…}}`.

        Ready is who is healthy and takes new requests: not while the system or the server drains.
        """
        if kind == "live":
            return {"live": True}
        report = await self._health()
        return {"ready": report["healthy"] and self._accepting()} if kind == "ready" else report

    async def reply(self, kind: str, trace_id: str) -> Reply:
        """200 or 503. What the parts of the system are called is shown where `health.details` says so."""
        report = await self.report(kind)
        good = next(iter(report.values())) is True
        shown = report if self._details else {name: each for name, each in report.items() if isinstance(each, bool)}
        if good:
            return response_reply(outcome_response({"success": True, "data": shown}, None, trace_id), 200)
        return fault_reply(Fault(Code.OVERLOADED, f"not {next(iter(report))}", shown, True), trace_id)

    def close(self) -> None:
        """Asks no longer how the system is."""
        if self._asked is not None:
            self._asked.cancel()

    async def _health(self) -> dict[str, Any]:
        """How the system is, asked once however many want to know: probes are for everybody, and checks may be dear."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._system.health(), name="mycelia-health")
        return await asyncio.shield(self._asked)
