"""The seam between a ServerSubsystem and whatever speaks HTTP: an engine runs one ASGI application on sockets.

They are bound by ourselves, so that a failed bind is the same `OSError` everywhere and port 0 gives the real port; an
engine serves them inside the running loop, with its signals off and its loggers quiet.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Protocol

from mycelia.errors import EngineError
from mycelia.net.capabilities import PLACES
from mycelia.net.certificates import TlsConfig

__all__ = [
    "ABILITIES",
    "BACKLOG",
    "ENGINES",
    "Application",
    "EngineOptions",
    "HttpEngine",
    "check_options",
    "engines_that",
    "load_engine",
    "until_up",
]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI 3 application."""

ENGINES: tuple[str, ...] = ("uvicorn", "granian", "hypercorn", "asgi")
"""The types of `server.type`; with "asgi" nothing listens here, because somebody else serves `subsystem.asgi`."""

BACKLOG = 1024

ABILITIES: Mapping[str, str] = {
    **PLACES,
    "context": "serve an ssl.SSLContext of the application's",
    "password": "read a key with a password",
    "renewal": "renew its certificate while it runs",
}
"""What an engine may declare in `abilities`, as it follows "can"."""


_ELSEWHERE: Mapping[str, Sequence[str]] = {
    "server.host and server.port": ("address", "bind", "host", "port"),
    "server.unix_socket": ("uds",),
    "server.socket_mode": ("umask",),
    "server.tls": ("ca_certs", "cert_reqs", "certfile", "ciphers", "keyfile", "keyfile_password", "ssl_"),
    "server.static": ("static_",),
    "limits.close_timeout": ("graceful_timeout", "timeout_graceful_shutdown"),
    "limits.trusted_proxies and limits.proxy_headers": ("forwarded_allow_ips", "proxy_headers"),
}
"""Which key says what options of libraries say, by how their names begin."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is told at its start; `library` is for its library alone.

    With TLS it gets a context, whose handshakes have the newest certificate. An engine without the ability "context"
    cannot take that, and reads the files of `tls_files` itself.
    """

    tls: ssl.SSLContext | None = None
    tls_files: TlsConfig | None = None
    close_timeout: float = 5.0
    library: Mapping[str, Any] = field(default_factory=dict)


class HttpEngine(Protocol):
    """One HTTP server. Started once, stopped once."""

    name: ClassVar[str]
    abilities: ClassVar[frozenset[str]]
    protocols: ClassVar[tuple[str, ...]]  # what clients over TLS may choose from (ALPN)

    async def start(self, application: Application, sockets: Sequence[socket.socket], options: EngineOptions) -> None:
        """Serves the application on listening sockets, which are the engine's from now on; the caller's if this raises.

        Then nothing of the engine is left running.
        """
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


def engines_that(ability: str) -> list[str]:
    """The engines that declare an ability; one whose library is not installed is not named."""
    found = []
    for name in ENGINES:
        with suppress(EngineError):
            if name != "asgi" and ability in load_engine(name).abilities:
                found.append(name)
    return found


def check_options(name: str, given: Mapping[str, Any], known: frozenset[str], ours: frozenset[str]) -> None:
    """Raises EngineError for an option that the library does not have, or that is ours to set."""
    for key in given:
        if key == "workers":
            problem = "it runs in this one process; start several, and let a proxy share the requests among them"
            raise EngineError(f"the server {name} takes no option 'workers': {problem}")
        if key in ours:
            said = next((to for to, names in _ELSEWHERE.items() if key.startswith(tuple(names))), None)
            problem = "is Mycelia's to set, and no key changes it" if said is None else f"is what {said} says"
            raise EngineError(f"the option {key!r} of the server {name} {problem}")
        if key not in known:
            raise EngineError(f"unknown option {key!r} for the server {name}; known: {', '.join(sorted(known))}")


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
