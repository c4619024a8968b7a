"""The engine `granian`: its embedded server, in the running event loop. It needs the extra `mycelia[granian]`."""

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
from mycelia.server.engines.seam import (
    BACKLOG,
    Application,
    HttpEngineOptions,
    check_library_options,
    until_serving,
)

__all__ = ["GranianEngine"]

# Mycelia decides these: listen address, application, logs, TLS and static files.
_RESERVED = frozenset({
    "address", "backlog", "factory", "interface", "log_access", "log_access_format", "log_dictconfig", "log_enabled",
    "log_level", "port", "self", "ssl_ca", "ssl_cert", "ssl_client_verify", "ssl_key", "ssl_key_password",
    "ssl_protocol_min", "static_path_dir_to_file", "static_path_expires", "static_path_mount",
    "static_path_route", "target", "task_impl", "uds", "url_path_prefix",
})  # fmt: skip
_KNOWN = frozenset(signature(Server.__init__).parameters) - _RESERVED
# Concurrent connections. The default of 128 includes idle ones and would let all further clients wait, also probes.
_CONNECTIONS = 16_384
# Without `incremental`, granian would close every logging handler of the process.
_LOGGING = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Server(Server):
    """A granian server that serves an existing socket and reports when it serves."""

    def __init__(self, application: Application, sock: socket.socket, **settings: Any) -> None:
        self.serving = asyncio.Event()
        self._socket = sock
        super().__init__(application, **settings)

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # The type stub declares no arguments.
        self._ssp = None
        self._shd = holder(os.dup(self._socket.fileno()), self._socket.family == socket.AF_UNIX, BACKLOG)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.serving.set()


class GranianEngine:
    """Serves HTTP/1.1, HTTP/2 and WebSocket in threads of its own. The application runs in the event loop of Mycelia.

    granian does not use Python's TLS. It reads certificate files once, and takes neither a context nor a renewed
    certificate. A file that it cannot read ends the process, so that Mycelia rejects a key password in advance.
    """

    name: ClassVar[str] = "granian"
    capabilities: ClassVar[frozenset[str]] = frozenset(PLACES)
    protocols: ClassVar[tuple[str, ...]] = ("h2", "http/1.1")

    def __init__(self) -> None:
        self._running: list[tuple[_Server, asyncio.Task[None]]] = []

    async def start(
        self, application: Application, sockets: Sequence[socket.socket], options: HttpEngineOptions
    ) -> None:
        """Serve the application on listening sockets, with one granian server for each."""
        try:
            check_library_options(self.name, options.library, _KNOWN, _RESERVED)
            settings = {"backpressure": _CONNECTIONS, **_tls_settings(options.tls_files), **options.library}
            for sock in sockets:
                server = _Server(
                    application, sock, interface=Interfaces.ASGINL, log_level=LogLevels.error, log_dictconfig=_LOGGING,
                    **settings,
                )  # fmt: skip
                task = asyncio.create_task(server.serve(), name="mycelia-granian")
                await until_serving(self.name, task, server.serving)
                self._running.append((server, task))
        except BaseException:
            await self.stop()
            raise
        finally:
            for sock in sockets:  # Each granian server has a duplicate of its socket.
                sock.close()

    async def stop(self) -> None:
        """Stop all servers and wait until they have ended."""
        running, self._running = self._running, []
        for server, _ in running:
            server.stop()  # type: ignore[no-untyped-call]
        for _, task in running:
            await task


def _tls_settings(tls: TlsConfig | None) -> dict[str, Any]:
    if tls is None:
        return {}
    settings: dict[str, Any] = {
        "ssl_cert": Path(tls.certificate or ""), "ssl_key": Path(tls.key or tls.certificate or ""),
        "ssl_protocol_min": SSLProtocols.tls12,
    }  # fmt: skip
    if tls.client_ca is not None:
        settings |= {"ssl_ca": Path(tls.client_ca), "ssl_client_verify": True}
    return settings
