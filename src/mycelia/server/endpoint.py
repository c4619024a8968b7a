"""Where a ServerSubsystem listens: what that asks of its engine, its sockets and certificate, and the run of it."""

from __future__ import annotations

import asyncio
import socket
import ssl

from mycelia.config.sections import below
from mycelia.net.capabilities import Asked, check_asked
from mycelia.net.certificates import Certificates, TlsConfig
from mycelia.net.listen_address import asked_of_place
from mycelia.net.sockets import SocketFile, bind_sockets
from mycelia.server.config import HOST, PORT, Config, ServerConfig
from mycelia.server.engines.base import (
    ABILITIES,
    BACKLOG,
    Application,
    EngineOptions,
    HttpEngine,
    engines_that,
    load_engine,
)

__all__ = ["Listening", "certificates_of", "check_abilities", "check_renewal", "engine_options"]


def check_abilities(server: ServerConfig) -> None:
    """Raises ConfigError for what the engine of a configuration cannot do, naming those that can.

    EngineError where the library of the engine is not installed, unless nothing is asked of it. With "asgi" a host or
    port would be overlooked.
    """
    tls = server.tls
    asked = (
        *asked_of_place(server, HOST, PORT, owned=server.type == "asgi"),
        Asked("context", "tls", isinstance(tls, ssl.SSLContext)),
        Asked("password", "tls.password", isinstance(tls, TlsConfig) and tls.password is not None),
    )
    if any(each.asked for each in asked):
        able = frozenset[str]() if server.type == "asgi" else load_engine(server.type).abilities
        with below("server"):
            check_asked(f"the server {server.type!r}", able, asked, ABILITIES, engines_that)


def certificates_of(server: ServerConfig) -> Certificates | None:
    """The certificates of a configuration, read now, for what its engine speaks; None without TLS."""
    if server.tls is None:
        return None
    return Certificates("server", (server,), load_engine(server.type).protocols)


def engine_options(config: Config, certificates: Certificates | None) -> EngineOptions:
    """What the engine of a configuration is told at its start."""
    server = config.server
    return EngineOptions(
        tls=None if certificates is None else certificates.lasting(server),
        tls_files=server.tls if isinstance(server.tls, TlsConfig) else None,
        close_timeout=config.limits.close_timeout,
        library=server.options,
    )


def check_renewal(server: ServerConfig) -> None:
    """Raises ConfigError where the engine of a configuration keeps the certificate that it has read at its start."""
    with below("server"):
        able = load_engine(server.type).abilities
        check_asked(f"the server {server.type!r}", able, [Asked("renewal", "tls", True)], ABILITIES, engines_that)


class Listening:
    """A running server: its engine, its addresses, and its file where it listens in the file system."""

    def __init__(self, engine: HttpEngine, addresses: list[tuple[str, int]], file: SocketFile | None) -> None:
        self.addresses = addresses
        self._engine, self._file = engine, file

    @classmethod
    async def begin(cls, server: ServerConfig, application: Application, options: EngineOptions) -> Listening:
        """Listens, or raises: EngineError for a library that is not installed, the `OSError` of a failed bind.

        Where it is cancelled the start comes to its end first: libraries leave sockets behind in the middle of it. One
        that is cancelled again waits no more, and all the same nothing is left in the end.
        """
        engine, file = load_engine(server.type), None
        if server.unix_socket is None:
            sockets = await bind_sockets(server.host, server.port, BACKLOG)
            names = [sock.getsockname() for sock in sockets]
        else:
            file = SocketFile(server.unix_socket, int(server.socket_mode, 8))
            file.sock.listen(BACKLOG)
            sockets, names = [file.sock], []
        for sock in sockets:
            sock.setblocking(False)
        listening = cls(engine, [(str(host), int(port)) for host, port, *_ in names], file)
        starting = asyncio.create_task(engine.start(application, sockets, options), name="mycelia-start")
        try:
            await asyncio.shield(starting)
        except BaseException:
            await asyncio.shield(asyncio.create_task(listening._abandon(starting, sockets), name="mycelia-abandon"))
            raise
        return listening

    async def stop(self) -> None:
        """Takes no more connections, lets those that are answered finish, as the options say, and closes."""
        if self._file is not None:
            self._file.remove()
        await self._engine.stop()

    async def _abandon(self, starting: asyncio.Task[None], sockets: list[socket.socket]) -> None:
        """Ends what a start has begun."""
        if self._file is not None:
            self._file.remove()
        try:
            await asyncio.wait((starting,))
            if not starting.cancelled() and starting.exception() is None:
                await self._engine.stop()
        finally:
            for sock in sockets:
                sock.close()
