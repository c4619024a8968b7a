"""The seam between a ServerSubsystem and an HTTP server: an engine serves one ASGI application on given sockets.

Mycelia binds the sockets itself. A failed bind is therefore the same `OSError` for every engine, and port 0 gives the
real port. An engine serves inside the running event loop, without signal handlers and without log output.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from mycelia.errors import EngineError
from mycelia.net.capabilities import PLACES
from mycelia.net.certificates import TlsConfig

__all__ = [
    "BACKLOG",
    "CAPABILITIES",
    "Application",
    "HttpEngine",
    "HttpEngineOptions",
    "check_library_options",
    "until_serving",
]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI 3 application."""

BACKLOG = 1024

CAPABILITIES: Mapping[str, str] = {
    **PLACES,
    "context": "serve an ssl.SSLContext of the application's",
    "password": "read a key with a password",
    "renewal": "renew its certificate while it runs",
}
"""The capabilities that an engine may declare. The values follow the word "can" in errors."""

_CONFIGURED_BY: Mapping[str, Sequence[str]] = {
    "server.host and server.port": ("address", "bind", "host", "port"),
    "server.unix_socket": ("uds",),
    "server.socket_mode": ("umask",),
    "server.tls": ("ca_certs", "cert_reqs", "certfile", "ciphers", "keyfile", "keyfile_password", "ssl_"),
    "server.static": ("static_",),
    "limits.close_timeout": ("graceful_timeout", "timeout_graceful_shutdown"),
    "limits.trusted_proxies and limits.proxy_headers": ("forwarded_allow_ips", "proxy_headers"),
}
"""The keys of Mycelia's configuration that replace options of the libraries, by the prefixes of these options."""


@dataclass(frozen=True, slots=True)
class HttpEngineOptions:
    """The options of an engine at its start.

    Attributes:
        tls: The TLS context. Each of its handshakes uses the newest certificate.
        tls_files: The certificate files, for an engine without the capability "context".
        close_timeout: How long a stop waits for running requests, in seconds.
        library: The options for the library behind the engine.
    """

    tls: ssl.SSLContext | None = None
    tls_files: TlsConfig | None = None
    close_timeout: float = 5.0
    library: Mapping[str, Any] = field(default_factory=dict)


class HttpEngine(Protocol):
    """An HTTP server. It is started once and stopped once.

    Attributes:
        name: The value of `server.type`.
        capabilities: The keys of `CAPABILITIES` that the engine has.
        protocols: The protocols that TLS clients may choose from (ALPN).
    """

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[str]]
    protocols: ClassVar[tuple[str, ...]]

    async def start(
        self, application: Application, sockets: Sequence[socket.socket], options: HttpEngineOptions
    ) -> None:
        """Serve the application on listening sockets.

        From now on the engine owns the sockets. If this raises, nothing of the engine is left running, and the caller
        still owns the sockets.
        """
        ...

    async def stop(self) -> None:
        """Take no new connections, wait up to `close_timeout` for running requests, and close all connections."""
        ...


def check_library_options(
    engine: str, given: Mapping[str, Any], known: frozenset[str], reserved: frozenset[str]
) -> None:
    """Raise EngineError for an option that the library does not have, or that Mycelia sets itself."""
    for option in given:
        if option == "workers":
            problem = "it runs in this one process; start several processes behind a proxy"
            raise EngineError(f"the server {engine} takes no option 'workers': {problem}")
        if option in reserved:
            keys = _CONFIGURED_BY.items()
            key = next((key for key, prefixes in keys if option.startswith(tuple(prefixes))), None)
            problem = "is reserved, and no key sets it" if key is None else f"is reserved; set {key} instead"
            raise EngineError(f"the option {option!r} of the server {engine} {problem}")
        if option not in known:
            raise EngineError(f"unknown option {option!r} for the server {engine}; known: {', '.join(sorted(known))}")


async def until_serving(engine: str, task: asyncio.Task[None], serving: asyncio.Event) -> None:
    """Return when the server in `task` has set `serving`. Raise EngineError if the task ends before that."""
    waiting = asyncio.create_task(serving.wait(), name=f"{task.get_name()}-up")
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        task.cancel()
        raise
    finally:
        waiting.cancel()
    if task.done() and not serving.is_set():
        raise EngineError(f"the server {engine} ended during its start") from task.exception()
