"""uvicorn inside the running loop (`type: "uvicorn"`, the extra `mycelia[uvicorn]`)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import ClassVar

import uvicorn

from mycelia.server.engines.base import ABILITIES, Application, EngineOptions, check_options, until_up

__all__ = ["Engine"]

# What is ours to decide: where it listens, who the application is, what is logged, how it ends, who the client is.
_OURS = frozenset({
    "access_log", "app", "env_file", "factory", "fd", "forwarded_allow_ips", "host", "lifespan", "log_config",
    "log_level", "loop", "port", "proxy_headers", "reload", "reload_delay", "reload_dirs", "reload_excludes",
    "reload_includes", "root_path", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_ciphers",
    "ssl_context_factory", "ssl_keyfile", "ssl_keyfile_password", "ssl_version", "timeout_graceful_shutdown", "uds",
    "use_colors", "workers",
})  # fmt: skip
_KNOWN = frozenset(signature(uvicorn.Config).parameters) - _OURS


class _Server(uvicorn.Server):
    """One that leaves the signals of the process alone and tells when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()


class Engine:
    """Speaks HTTP/1.1, and WebSocket by the `websockets` library without its own connections."""

    name: ClassVar[str] = "uvicorn"
    abilities: ClassVar[frozenset[str]] = frozenset(ABILITIES)
    protocols: ClassVar[tuple[str, ...]] = ("http/1.1",)

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, application: Application, sockets: Sequence[socket.socket], options: EngineOptions) -> None:
        check_options(self.name, options.library, _KNOWN, _OURS)
        settings = {"ws": "websockets-sansio", "server_header": False, **options.library}
        config = uvicorn.Config(
            application, lifespan="off", log_config=None, log_level="error", access_log=False, proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(options.close_timeout)), **settings,
        )  # fmt: skip
        config.load()
        config.ssl = options.tls
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[*sockets]), name="mycelia-uvicorn")
        await until_up(self.name, task, server.up)
        self._server, self._task = server, task

    async def stop(self) -> None:
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.should_exit = True
            await task
