"""hypercorn inside the running loop (`type: "hypercorn"`, the extra `mycelia[hypercorn]`)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config, Sockets

from mycelia.server.engines.base import ABILITIES, Application, EngineOptions, check_options, until_up

__all__ = ["Engine"]

logger = logging.getLogger("mycelia.server")

_OURS = frozenset({
    "access_log_format", "accesslog", "alpn_protocols", "application_path", "bind", "ca_certs", "cert_reqs", "certfile",
    "ciphers", "create_sockets", "create_ssl_context", "daemon", "debug", "dogstatsd_tags", "errorlog", "from_mapping",
    "from_object", "from_pyfile", "from_toml", "graceful_timeout", "group", "insecure_bind", "keyfile",
    "keyfile_password", "log", "logconfig", "logconfig_dict", "logger_class", "loglevel", "pid_path", "quic_bind",
    "response_headers", "root_path", "set_cert_reqs", "set_statsd_logger_class", "ssl_enabled", "statsd_host",
    "statsd_prefix", "umask", "use_reloader", "user", "verify_flags", "verify_mode", "worker_class", "workers",
    "wsgi_max_body_size",
})  # fmt: skip
_KNOWN = frozenset(name for name in dir(Config) if not name.startswith("_")) - _OURS


class _Config(Config):
    """One whose sockets and whose context are there already."""

    def __init__(self, sockets: Sequence[socket.socket], context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._ours, self._context = sockets, context

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context

    def create_sockets(self) -> Sockets:
        return Sockets([*self._ours], [], []) if self.ssl_enabled else Sockets([], [*self._ours], [])


class Engine:
    """Speaks HTTP/1.1 and HTTP/2, and WebSocket over both."""

    name: ClassVar[str] = "hypercorn"
    abilities: ClassVar[frozenset[str]] = frozenset(ABILITIES)
    protocols: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, application: Application, sockets: Sequence[socket.socket], options: EngineOptions) -> None:
        up = asyncio.Event()

        async def trigger() -> None:
            """It asks for this as soon as it serves."""
            up.set()
            await self._stop.wait()

        check_options(self.name, options.library, _KNOWN, _OURS)
        config = _Config(sockets, options.tls)
        config.errorlog = config.accesslog = None
        config.include_server_header = False
        config.graceful_timeout = options.close_timeout
        for key, value in options.library.items():
            setattr(config, key, value)
        served = serve(cast(Any, _Alone(application)), config, shutdown_trigger=trigger, mode="asgi")
        self._task = asyncio.create_task(served, name="mycelia-hypercorn")
        await until_up(self.name, self._task, up)

    async def stop(self) -> None:
        task, self._task = self._task, None
        self._stop.set()
        if task is not None:
            try:
                await task
            except Exception as fault:  # it cannot end HTTP/2 connections that outlast `close_timeout`
                logger.warning("hypercorn did not end well: %r", fault)


class _Alone:
    """The application without a lifespan, which is ours: hypercorn always wants one."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return
        while (event := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{event['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
