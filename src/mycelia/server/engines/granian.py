"""granian inside the running loop (`type: "granian"`, the extra `mycelia[granian]`), by its embedded server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

from granian._granian import SocketHolder
from granian.constants import Interfaces, SSLProtocols
from granian.log import LogLevels
from granian.server.embed import Server

from mycelia.net.capabilities import PLACES
from mycelia.net.certificates import TlsConfig
from mycelia.server.engines.base import BACKLOG, Application, EngineOptions, check_options, until_up

__all__ = ["Engine"]

_OURS = frozenset({
    "address", "backlog", "factory", "interface", "log_access", "log_access_format", "log_dictconfig", "log_enabled",
    "log_level", "port", "self", "ssl_ca", "ssl_cert", "ssl_client_verify", "ssl_key", "ssl_key_password",
    "ssl_protocol_min", "static_path_dir_to_file", "static_path_expires", "static_path_mount",
    "static_path_route", "target", "task_impl", "uds", "url_path_prefix",
})  # fmt: skip
_KNOWN = frozenset(signature(Server.__init__).parameters) - _OURS
# Connections at a time. It would take no more than 128, idle ones too, and let everybody else wait, probes as well.
_CONNECTIONS = 16_384
# Without `incremental` it would close every handler of logging that the process has.
_LOGGING = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Server(Server):
    """One that serves a socket that is there already, and tells when it serves."""

    def __init__(self, application: Application, sock: socket.socket, **settings: Any) -> None:
        self.up = asyncio.Event()
        self._ours = sock
        super().__init__(application, **settings)

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # its stub knows no arguments
        self._ssp = None
        self._shd = holder(os.dup(self._ours.fileno()), self._ours.family == socket.AF_UNIX, BACKLOG)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.up.set()


class Engine:
    """Speaks HTTP/1.1, HTTP/2 and WebSocket in threads of its own, those of each socket; the application runs in our
    loop.

    Its TLS is not Python's: it reads files, once, and takes neither a context nor a renewed certificate. What it cannot
    read ends the process, which is why a password is refused before.
    """

    name: ClassVar[str] = "granian"
    abilities: ClassVar[frozenset[str]] = frozenset(PLACES)
    protocols: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(self) -> None:
        self._running: list[tuple[_Server, asyncio.Task[None]]] = []

    async def start(self, application: Application, sockets: Sequence[socket.socket], options: EngineOptions) -> None:
        try:
            check_options(self.name, options.library, _KNOWN, _OURS)
            settings = {"backpressure": _CONNECTIONS, **_encryption(options.tls_files), **options.library}
            for sock in sockets:
                server = _Server(
                    application, sock, interface=Interfaces.ASGINL, log_level=LogLevels.error, log_dictconfig=_LOGGING,
                    **settings,
                )  # fmt: skip
                task = asyncio.create_task(server.serve(), name="mycelia-granian")
                await until_up(self.name, task, server.up)
                self._running.append((server, task))
        except BaseException:
            await self.stop()
            raise
        finally:
            for sock in sockets:  # each server has a copy
                sock.close()

    async def stop(self) -> None:
        running, self._running = self._running, []
        for server, _ in running:
            server.stop()  # type: ignore[no-untyped-call]
        for _, task in running:
            await task


def _encryption(tls: TlsConfig | None) -> dict[str, Any]:
    if tls is None:
        return {}
    settings: dict[str, Any] = {
        "ssl_cert": Path(tls.certificate or ""), "ssl_key": Path(tls.key or tls.certificate or ""),
        "ssl_protocol_min": SSLProtocols.tls12,
    }  # fmt: skip
    if tls.client_ca is not None:
        settings |= {"ssl_ca": Path(tls.client_ca), "ssl_client_verify": True}
    return settings
