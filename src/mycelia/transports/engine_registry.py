"""The engines by name: those of this package, their aliases, and those that other packages register.

A package registers an engine with an entry point in the group `mycelia.engines`. The registry imports the module of an
engine on first use, so an engine whose library is not installed costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from mycelia.errors import EngineError
from mycelia.transports.seam import Engine

__all__ = ["EngineFactory", "engine_class", "engine_names", "engines_with", "is_engine", "load_engine", "make_engine"]

EngineFactory = Callable[[], Engine]
"""An engine class, or a function that makes an engine."""

_BUILT_IN: Mapping[str, str] = {
    "picows": "mycelia.transports.tcp.picows:PicowsEngine",
    "websockets": "mycelia.transports.tcp.websockets:WebsocketsEngine",
    "memory": "mycelia.transports.memory.engine:MemoryEngine",
    "asgi": "mycelia.transports.asgi.engine:AsgiEngine",
    "socketio": "mycelia.transports.socketio.engine:SocketioEngine",
    "sockjs": "mycelia.transports.sockjs.engine:SockjsEngine",
}
_ALIASES: Mapping[str, str] = {"uws": "picows", "ws": "websockets", "socket.io": "socketio"}
# What a class must have, and an instance besides.
_DECLARED = (
    *("name", "capabilities", "framed", "codec", "prefix"),
    *("start", "stop", "on", "address", "addresses"),
)
_COUNTED = ("refused_for_descriptors",)


def is_engine(name: str) -> bool:
    """Return True if `load_engine` knows the name. Reads the installed packages only for other names than ours."""
    return name in _BUILT_IN or name in _ALIASES or name in engine_names()


def engine_names() -> list[str]:
    """Return every name that `load_engine` takes: built-in engines, aliases and entry points."""
    installed = {entry.name for entry in entry_points(group="mycelia.engines")}
    return sorted({*_BUILT_IN, *_ALIASES, *installed})


def engines_with(capability: str) -> list[str]:
    """Return the built-in engines that declare a capability, without those whose library is not installed."""
    found = []
    for name in _BUILT_IN:
        with suppress(ImportError):
            kind = engine_class(load_engine(name))
            if kind is not None and capability in kind.capabilities:
                found.append(name)
    return found


def load_engine(name: str) -> EngineFactory:
    """Return the class or factory of an engine.

    Args:
        name: The name or alias of an engine, as in the configuration key `type`.

    Raises:
        EngineError: The name is unknown, or the class does not declare every member of `Engine`.
    """
    target = _BUILT_IN.get(_ALIASES.get(name, name))
    if target is not None:
        module, _, attribute = target.partition(":")
        factory: EngineFactory = getattr(import_module(module), attribute)
        return factory
    for entry in entry_points(group="mycelia.engines"):
        if entry.name == name:
            loaded: EngineFactory = entry.load()
            if isinstance(loaded, type):
                _check_members(name, loaded, _DECLARED)
            return loaded
    raise EngineError(f"unknown engine type {name!r}; known: {', '.join(engine_names())}")


def engine_class(factory: EngineFactory) -> type[Engine] | None:
    """Return the engine class if the factory is one. A factory function declares nothing before it is called."""
    return cast("type[Engine]", factory) if isinstance(factory, type) else None


def make_engine(name: str) -> Engine:
    """Return a new engine.

    Args:
        name: The name or alias of an engine, as in the configuration key `type`.

    Raises:
        EngineError: The name is unknown, or the engine lacks a member of `Engine`.
    """
    engine = load_engine(name)()
    _check_members(name, engine, (*_DECLARED, *_COUNTED))
    return engine


def _check_members(name: str, engine: object, members: tuple[str, ...]) -> None:
    """Raise EngineError for a member that an engine of another package does not declare."""
    missing = [member for member in members if not hasattr(engine, member)]
    if missing:
        raise EngineError(
            f"the engine {name!r} does not declare {', '.join(missing)}; "
            "derive it from mycelia.transports.base_engine.BaseEngine, which has defaults"
        )
