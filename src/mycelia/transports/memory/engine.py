"""The engine without a network: clients in the same process, for tests (`type: "memory"`).

It takes frames where the others take bytes, judges handshakes and frames by the same `protocol` code, and
closes in the same order with the same codes. It has no address; clients come in through `open` and `dial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mycelia.errors import EngineError
from mycelia.protocol.ws.handshake import HttpReply
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.capabilities import WIRE
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.socket import (
    HandshakeRefused,
    HeaderLines,
    MemorySocket,
    Opened,
    request_head,
)
from mycelia.transports.memory.transport import MemoryTransport
from mycelia.transports.receive_budget import Holdings
from mycelia.transports.transport_registry import Transports

__all__ = ["MemoryEngine"]

_SOCKET_BYTES = 256 * 1024


class MemoryEngine(BaseEngine):
    """`type: "memory"`. Its library option `socket_bytes` is what a connection holds each way.

    `framed` is False: its transports take payloads, not finished frames.
    """

    name: ClassVar[str] = "memory"
    capabilities: ClassVar[frozenset[str]] = WIRE
    library_options: ClassVar[frozenset[str]] = frozenset({"socket_bytes"})

    def __init__(self) -> None:
        super().__init__()
        self.socket_bytes = _SOCKET_BYTES
        self.holdings = Holdings(self.options.inbound_bytes, self.options.max_message_bytes)
        self._transports = Transports()

    def configure(self, options: EngineOptions) -> None:
        super().configure(options)
        socket_bytes = options.library.get("socket_bytes", _SOCKET_BYTES)
        if type(socket_bytes) is not int or socket_bytes < 1:
            raise EngineError(f"socket_bytes: expected a whole number of at least 1, got {socket_bytes!r}")
        self.socket_bytes = socket_bytes
        self.holdings = Holdings(options.inbound_bytes, options.max_message_bytes)

    async def on_start(self) -> None: ...

    async def on_stop(self) -> None:
        await self._transports.abort()

    # -- for clients ---------------------------------------------------------------------------------

    def dial(self, remote: tuple[str, int] = ("127.0.0.1", 0), *, secure: bool = False) -> MemorySocket:
        """A connection whose handshake has not begun. ConnectionRefusedError when the engine does not run."""
        if not self._running:
            raise ConnectionRefusedError("the memory engine does not run; start the subsystem first")
        transport = MemoryTransport(self, remote, secure)
        self._transports.add(transport)
        if not transport.enter():
            transport.abort()
        return transport.socket

    async def open(
        self, url: str, headers: HeaderLines = (), subprotocols: Sequence[str] = ()
    ) -> tuple[MemorySocket, Opened]:
        """A connection and the server's 101. Raises HandshakeRefused with the reply, and as `dial`."""
        socket = self.dial(secure=url.startswith("wss:"))
        try:
            socket.send_head(request_head(url, headers, subprotocols))
            answer = await socket.answer()
        except BaseException:
            socket.hang_up()
            raise
        if isinstance(answer, HttpReply):
            raise HandshakeRefused(answer)
        return socket, answer

    # -- what its transports call --------------------------------------------------------------------

    def lost(self, transport: MemoryTransport) -> None:
        """The connection is gone."""
        self._transports.discard(transport)
