"""The seam between a ServerSubsystem and whatever speaks HTTP: an engine runs one ASGI application on one socket.

The socket is bound here, so that a failed bind is the same `OSError` everywhere and port 0 gives the real port; an
engine serves it inside the running loop, with its signals off and its loggers quiet.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Protocol

from mycelia.errors import EngineError

__all__ = [
    "BACKLOG",
    "ENGINES",
    "Application",
    "EngineOptions",
    "HttpEngine",
    "bind",
    "check_options",
    "load_engine",
    "until_up",
]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI 3 application."""

ENGINES: tuple[str, ...] = ("uvicorn", "granian", "hypercorn", "asgi")
"""The types of `server.type`; with "asgi" nothing listens here, because somebody else serves `subsystem.asgi`."""

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is told at its start; `library` is for its library alone."""

    close_timeout: float = 5.0
    library: Mapping[str, Any] = field(default_factory=dict)


class HttpEngine(Protocol):
    """One HTTP server. Started once, stopped once."""

    name: ClassVar[str]

    async def start(self, application: Application, sock: socket.socket, options: EngineOptions) -> None:
        """Serves the application on a bound socket, which is the engine's from now on, also if this raises."""
        ...

    async def stop(self) -> None:
        """Takes no more connections, waits for those that are answered, `close_timeout` at the most, and closes."""
        ...


def load_engine(name: str) -> HttpEngine:
    """The engine of that name. EngineError, with the command that installs it, when its library is not here."""
    try:
        module = import_module(f"mycelia.server.engines.{name}")
    except ImportError as missing:
        problem = f"the server {name!r} needs its library: pip install 'mycelia[{name}]'"
        raise EngineError(problem) from missing
    engine: HttpEngine = module.Engine()
    return engine


def check_options(name: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raises EngineError for an option that the library does not have, or that is ours to set."""
    for key in given:
        if key not in known:
            raise EngineError(f"unknown option {key!r} for the server {name}; known: {', '.join(sorted(known))}")


async def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket. OSError when the address is taken, is not ours, or cannot be resolved."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if sys.platform != "win32":  # there it would let two programs share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def until_up(name: str, task: asyncio.Task[None], up: asyncio.Event) -> None:
    """Returns when a server that runs in `task` says that it serves; EngineError when it has ended instead."""
    waiting = asyncio.create_task(up.wait(), name=f"{task.get_name()}-up")
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        task.cancel()
        raise
    finally:
        waiting.cancel()
    if task.done() and not up.is_set():
        raise EngineError(f"the server {name} ended at its start") from task.exception()
