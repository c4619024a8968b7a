"""The listening sockets of the engines that own their TCP or Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from mycelia.net.sockets import SocketFile, bind_sockets
from mycelia.transports.capabilities import WIRE
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.framed_connection import FramedConnection
from mycelia.transports.stream.tls import TlsStream

__all__ = ["ListeningEngine"]


class ListeningEngine(StreamEngine):
    """An engine that listens on TCP addresses or on a Unix socket, with or without TLS."""

    connection_type: ClassVar[type[StreamConnection]] = FramedConnection
    capabilities: ClassVar[frozenset[str]] = WIRE | {"addresses", "deflate", "listen", "tls", "unix_socket"}
    framed: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._servers: list[asyncio.Server] = []
        self._file: SocketFile | None = None

    def addresses(self) -> list[tuple[str, int]]:
        if self.options.unix_socket is not None:
            return []
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return [(host, port) for host, port, *_ in names]

    async def on_start(self) -> None:
        loop, options = asyncio.get_running_loop(), self.options
        listen: Callable[..., Awaitable[asyncio.Server]]
        if options.unix_socket is not None:
            self._file = SocketFile(options.unix_socket, options.socket_mode)
            bound, listen = [self._file.sock], loop.create_unix_server
        else:
            bound, listen = await bind_sockets(options.host, options.port, options.backlog), loop.create_server
        try:
            for sock in bound:
                server = await listen(self._protocol, sock=sock, backlog=options.backlog, start_serving=False)
                self._servers.append(server)  # before it serves, so that a start that is cancelled now closes it
                await server.start_serving()
        finally:
            for sock in bound[len(self._servers) :]:
                sock.close()

    async def on_stop(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        await super().on_stop()
        for server in servers:
            await server.wait_closed()

    def _protocol(self) -> asyncio.BaseProtocol:
        connection, tls = self.connect(), self.options.tls
        return connection if tls is None else TlsStream(self, connection, tls())
