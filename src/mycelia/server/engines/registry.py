"""The registry of HTTP engines: their names, and how their modules are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module

from mycelia.errors import EngineError
from mycelia.server.engines.seam import HttpEngine

__all__ = ["HTTP_ENGINES", "http_engines_with", "load_http_engine"]

_CLASSES: Mapping[str, str] = {
    "uvicorn": "UvicornEngine",
    "granian": "GranianEngine",
    "hypercorn": "HypercornEngine",
}

HTTP_ENGINES: tuple[str, ...] = (*_CLASSES, "asgi")
"""The values of `server.type`. With "asgi" nothing listens here: another server serves `subsystem.asgi`."""


def load_http_engine(name: str) -> HttpEngine:
    """Return a new engine.

    Raises:
        EngineError: Its library is not installed. The error names the command that installs it.
    """
    try:
        module = import_module(f"mycelia.server.engines.{name}")
    except ImportError as missing:
        problem = f"the server {name!r} needs its library: pip install 'mycelia[{name}]'"
        raise EngineError(problem) from missing
    engine: HttpEngine = getattr(module, _CLASSES[name])()
    return engine


def http_engines_with(capability: str) -> list[str]:
    """Return the names of the installed engines that declare a capability."""
    found = []
    for name in _CLASSES:
        with suppress(EngineError):
            if capability in load_http_engine(name).capabilities:
                found.append(name)
    return found
