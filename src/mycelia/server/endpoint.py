"""The endpoint of a ServerSubsystem: what it requires of its engine, its certificates, and its run on sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl

from mycelia.config.sections import below
from mycelia.net.capabilities import Asked, check_asked
from mycelia.net.certificates import Certificates, TlsConfig
from mycelia.net.listen_address import asked_of_place
from mycelia.net.sockets import SocketFile, bind_sockets
from mycelia.server.config import Config, ServerConfig
from mycelia.server.engines.registry import http_engines_with, load_http_engine
from mycelia.server.engines.seam import BACKLOG, CAPABILITIES, Application, HttpEngine, HttpEngineOptions

__all__ = ["RunningServer", "certificates_of", "check_capabilities", "check_renewal", "engine_options"]


def check_capabilities(server: ServerConfig) -> None:
    """Raise ConfigError for a setting that the engine does not support. The error names the engines that do.

    With the type "asgi" a host or port would have no effect, so that it is an error, too. Raise EngineError if the
    library of the engine is not installed. The library is loaded only for settings that not every engine supports.
    """
    tls = server.tls
    requests = (
        *asked_of_place(server, server.default_host, server.default_port, owned=server.type == "asgi"),
        Asked("context", "tls", isinstance(tls, ssl.SSLContext)),
        Asked("password", "tls.password", isinstance(tls, TlsConfig) and tls.password is not None),
    )
    if any(each.asked for each in requests):
        capabilities = frozenset[str]() if server.type == "asgi" else load_http_engine(server.type).capabilities
        with below("server"):
            check_asked(f"the server {server.type!r}", capabilities, requests, CAPABILITIES, http_engines_with)


def certificates_of(server: ServerConfig) -> Certificates | None:
    """Return the certificates of a configuration for the protocols of its engine; None without TLS."""
    if server.tls is None:
        return None
    return Certificates("server", (server,), load_http_engine(server.type).protocols)


def engine_options(config: Config, certificates: Certificates | None) -> HttpEngineOptions:
    """Return the options for the start of the engine."""
    server = config.server
    return HttpEngineOptions(
        tls=None if certificates is None else certificates.lasting(server),
        tls_files=server.tls if isinstance(server.tls, TlsConfig) else None,
        close_timeout=config.limits.close_timeout,
        library=server.options,
    )


def check_renewal(server: ServerConfig) -> None:
    """Raise ConfigError if the engine cannot renew its certificate while it runs."""
    with below("server"):
        capabilities = load_http_engine(server.type).capabilities
        requests = [Asked("renewal", "tls", True)]
        check_asked(f"the server {server.type!r}", capabilities, requests, CAPABILITIES, http_engines_with)


class RunningServer:
    """A running HTTP server: its engine, its TCP addresses, and its socket file if it listens in the file system."""

    def __init__(self, engine: HttpEngine, addresses: list[tuple[str, int]], file: SocketFile | None) -> None:
        self.addresses = addresses
        self._engine, self._file = engine, file

    @classmethod
    async def start(cls, server: ServerConfig, application: Application, options: HttpEngineOptions) -> RunningServer:
        """Bind the sockets, start the engine on them, and return the running server.

        After a cancellation, the library finishes its start and then stops, because libraries leak sockets if they are
        cancelled during their start. After a second cancellation the caller waits no longer, and the cleanup continues
        in the background.

        Raises:
            EngineError: The library of the engine is not installed.
            OSError: The sockets cannot be bound.
        """
        engine, file = load_http_engine(server.type), None
        if server.unix_socket is None:
            sockets = await bind_sockets(server.host, server.port, BACKLOG)
            names = [sock.getsockname() for sock in sockets]
        else:
            file = SocketFile(server.unix_socket, int(server.socket_mode, 8))
            file.sock.listen(BACKLOG)
            sockets, names = [file.sock], []
        for sock in sockets:
            sock.setblocking(False)
        running = cls(engine, [(str(host), int(port)) for host, port, *_ in names], file)
        starting = asyncio.create_task(engine.start(application, sockets, options), name="mycelia-start")
        try:
            await asyncio.shield(starting)
        except BaseException:
            await asyncio.shield(asyncio.create_task(running._abandon(starting, sockets), name="mycelia-abandon"))
            raise
        return running

    async def stop(self) -> None:
        """Take no new connections, wait for running requests as the options say, and close all connections."""
        if self._file is not None:
            self._file.remove()
        await self._engine.stop()

    async def _abandon(self, starting: asyncio.Task[None], sockets: list[socket.socket]) -> None:
        """Wait for the end of a failed or cancelled start, and release what it holds."""
        if self._file is not None:
            self._file.remove()
        try:
            await asyncio.wait((starting,))
            if not starting.cancelled() and starting.exception() is None:
                await self._engine.stop()
        finally:
            for sock in sockets:
                sock.close()
