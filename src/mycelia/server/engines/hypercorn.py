"""The engine `hypercorn`: hypercorn inside the running event loop. It needs the extra `mycelia[hypercorn]`."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets

from mycelia.server.engines.seam import (
    CAPABILITIES,
    Application,
    HttpEngineOptions,
    check_library_options,
    until_serving,
)

__all__ = ["HypercornEngine"]

logger = logging.getLogger("mycelia.server")

# Mycelia decides these: listen address, application, logs, TLS, processes and shutdown.
_RESERVED = frozenset({
    "access_log_format", "accesslog", "alpn_protocols", "application_path", "bind", "ca_certs", "cert_reqs", "certfile",
    "ciphers", "create_sockets", "create_ssl_context", "daemon", "debug", "dogstatsd_tags", "errorlog", "from_mapping",
    "from_object", "from_pyfile", "from_toml", "graceful_timeout", "group", "insecure_bind", "keyfile",
    "keyfile_password", "log", "logconfig", "logconfig_dict", "logger_class", "loglevel", "pid_path", "quic_bind",
    "response_headers", "root_path", "set_cert_reqs", "set_statsd_logger_class", "ssl_enabled", "statsd_host",
    "statsd_prefix", "umask", "use_reloader", "user", "verify_flags", "verify_mode", "worker_class", "workers",
    "wsgi_max_body_size",
})  # fmt: skip
_KNOWN = frozenset(name for name in dir(Config) if not name.startswith("_")) - _RESERVED


class _Config(Config):
    """A hypercorn configuration with existing sockets and an existing TLS context."""

    def __init__(self, sockets: Sequence[socket.socket], context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._sockets, self._context = sockets, context

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context

    def create_sockets(self) -> Sockets:
        return Sockets([*self._sockets], [], []) if self.ssl_enabled else Sockets([], [*self._sockets], [])


class HypercornEngine:
    """Serves HTTP/1.1 and HTTP/2, and WebSocket over both."""

    name: ClassVar[str] = "hypercorn"
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    protocols: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(
        self, application: Application, sockets: Sequence[socket.socket], options: HttpEngineOptions
    ) -> None:
        """Serve the application on listening sockets."""
        serving = asyncio.Event()

        async def trigger() -> None:
            """Report that the server serves, then wait for the stop. hypercorn calls this once it serves."""
            serving.set()
            await self._stop.wait()

        check_library_options(self.name, options.library, _KNOWN, _RESERVED)
        config = _Config(sockets, options.tls)
        config.errorlog = config.accesslog = None
        config.include_server_header = False
        config.graceful_timeout = options.close_timeout
        for key, value in options.library.items():
            setattr(config, key, value)
        served = serve(cast(Any, _WithoutLifespan(application)), config, shutdown_trigger=trigger, mode="asgi")
        self._task = asyncio.create_task(served, name="mycelia-hypercorn")
        await until_serving(self.name, self._task, serving)

    async def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        task, self._task = self._task, None
        self._stop.set()
        if task is not None:
            try:
                await task
            except Exception as error:  # hypercorn cannot end HTTP/2 connections that outlast `close_timeout`.
                logger.warning("hypercorn raised an exception during its stop: %r", error)


class _WithoutLifespan:
    """Answers the lifespan that hypercorn always starts. Mycelia runs the lifespan of the application itself."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return
        while (event := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{event['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
