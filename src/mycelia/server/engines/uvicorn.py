"""The engine `uvicorn`: uvicorn inside the running event loop. It needs the extra `mycelia[uvicorn]`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import ClassVar

import uvicorn

from mycelia.server.engines.seam import (
    CAPABILITIES,
    Application,
    HttpEngineOptions,
    check_library_options,
    until_serving,
)

__all__ = ["UvicornEngine"]

# Mycelia decides these: listen address, application, logs, shutdown, and the client address behind proxies.
_RESERVED = frozenset({
    "access_log", "app", "env_file", "factory", "fd", "forwarded_allow_ips", "host", "lifespan", "log_config",
    "log_level", "loop", "port", "proxy_headers", "reload", "reload_delay", "reload_dirs", "reload_excludes",
    "reload_includes", "root_path", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_ciphers",
    "ssl_context_factory", "ssl_keyfile", "ssl_keyfile_password", "ssl_version", "timeout_graceful_shutdown", "uds",
    "use_colors", "workers",
})  # fmt: skip
_KNOWN = frozenset(signature(uvicorn.Config).parameters) - _RESERVED


class _Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers and reports when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.serving.set()


class UvicornEngine:
    """Serves HTTP/1.1, and WebSocket through the sans-I/O part of the library `websockets`."""

    name: ClassVar[str] = "uvicorn"
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    protocols: ClassVar[tuple[str, ...]] = ("http/1.1",)

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(
        self, application: Application, sockets: Sequence[socket.socket], options: HttpEngineOptions
    ) -> None:
        """Serve the application on listening sockets."""
        check_library_options(self.name, options.library, _KNOWN, _RESERVED)
        settings = {"ws": "websockets-sansio", "server_header": False, **options.library}
        config = uvicorn.Config(
            application, lifespan="off", log_config=None, log_level="error", access_log=False, proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(options.close_timeout)), **settings,
        )  # fmt: skip
        config.load()
        config.ssl = options.tls
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[*sockets]), name="mycelia-uvicorn")
        await until_serving(self.name, task, server.serving)
        self._server, self._task = server, task

    async def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.should_exit = True
            await task
