"""What a client in memory connects to: from a system, a subsystem or a facet to its memory engine."""

from __future__ import annotations

from mycelia.errors import EngineError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.websocket.facet import WebSocketFacet

__all__ = ["Target", "memory_engine"]

Target = MessageSystem | BaseSubsystem | WebSocketFacet | MemoryEngine


def memory_engine(target: Target) -> MemoryEngine:
    """The first engine of type `memory`. EngineError when there is none, saying what was found."""
    if isinstance(target, MemoryEngine):
        return target
    found: list[str] = []
    for facet in _facets(target):
        for engine in facet.engines:
            if isinstance(engine, MemoryEngine):
                return engine
            found.append(engine.name)
    raise EngineError(
        "expected a built WebSocketSubsystem with config={'websocket': {'type': 'memory'}}, "
        f"found {', '.join(found) or 'no websocket facet'}"
    )


def _facets(target: MessageSystem | BaseSubsystem | WebSocketFacet) -> list[WebSocketFacet]:
    if isinstance(target, WebSocketFacet):
        return [target]
    subsystems = [target] if isinstance(target, BaseSubsystem) else list(target.subsystems.values())
    found = (subsystem.find("websocket") for subsystem in subsystems)
    return [facet for facet in found if isinstance(facet, WebSocketFacet)]
