"""granian inside the running loop (`type: "granian"`, the extra `mycelia[granian]`), by its embedded server."""

from __future__ import annotations

import asyncio
import os
import socket
from inspect import signature
from typing import Any, ClassVar

from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from mycelia.server.engines.base import BACKLOG, Application, EngineOptions, check_options, until_up

__all__ = ["Engine"]

_OURS = frozenset({
    "address", "backlog", "factory", "interface", "log_access", "log_access_format", "log_dictconfig", "log_enabled",
    "log_level", "port", "self", "static_path_dir_to_file", "static_path_expires", "static_path_mount",
    "static_path_route", "target", "task_impl", "uds", "url_path_prefix",
})  # fmt: skip
_KNOWN = frozenset(signature(Server.__init__).parameters) - _OURS
# Connections at a time. It would take no more than 128, idle ones too, and let everybody else wait, probes as well.
_CONNECTIONS = 16_384
# Without `incremental` it would close every handler of logging that the process has.
_LOGGING = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Server(Server):
    """One that serves a socket that is bound already, and tells when it serves."""

    def __init__(self, application: Application, sock: socket.socket, **settings: Any) -> None:
        self.up = asyncio.Event()
        self._bound = sock
        super().__init__(application, **settings)

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # its stub knows no arguments
        self._ssp = None
        self._shd = holder(os.dup(self._bound.fileno()), False, BACKLOG)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.up.set()


class Engine:
    """Speaks HTTP/1.1, HTTP/2 and WebSocket in threads of its own; the application runs in our loop."""

    name: ClassVar[str] = "granian"

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, application: Application, sock: socket.socket, options: EngineOptions) -> None:
        with sock:
            check_options(self.name, options.library, _KNOWN)
            server = _Server(
                application, sock, interface=Interfaces.ASGINL, log_level=LogLevels.error, log_dictconfig=_LOGGING,
                **{"backpressure": _CONNECTIONS, **options.library},
            )  # fmt: skip
            task = asyncio.create_task(server.serve(), name="mycelia-granian")
            await until_up(self.name, task, server.up)
        self._server, self._task = server, task

    async def stop(self) -> None:
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.stop()  # type: ignore[no-untyped-call]
            await task
