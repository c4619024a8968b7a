"""The engine without a network: clients in the same process, for tests (`type: "memory"`).

It takes frames where the others take bytes, judges handshakes and frames by the same `protocol` code, and
closes in the same order with the same codes. It has no address; clients come in through `open` and `dial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mycelia.errors import EngineError
from mycelia.protocol.ws.handshake import Accept, Handshake, HttpReply
from mycelia.transports.capabilities import WIRE
from mycelia.transports.memory.socket import (
    HandshakeRefused,
    HeaderLines,
    MemorySocket,
    Opened,
    request_head,
)
from mycelia.transports.memory.transport import MemoryTransport
from mycelia.transports.receive_budget import Holdings
from mycelia.transports.seam import Admit, EngineOptions, check_event, check_start
from mycelia.transports.transport_registry import Transports

__all__ = ["MemoryEngine"]

_SOCKET_BYTES = 256 * 1024


class MemoryEngine:
    """`type: "memory"`. Its library option `socket_bytes` is what a connection holds each way.

    `framed` is False: its transports take payloads, not finished frames.
    """

    name: str = "memory"
    framed: ClassVar[bool] = False
    abilities: ClassVar[frozenset[str]] = WIRE

    def __init__(self) -> None:
        self.options = EngineOptions()
        self.socket_bytes = _SOCKET_BYTES
        self.holdings = Holdings(self.options.inbound_bytes, self.options.max_message_bytes)
        self._admit: Admit | None = None
        self._running = False
        self._transports = Transports()

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        check_event(event)
        self._admit = handler

    async def start(self, options: EngineOptions) -> None:
        check_start(self.name, self._running, self._admit, options.library, ("socket_bytes",))
        socket_bytes = options.library.get("socket_bytes", _SOCKET_BYTES)
        if type(socket_bytes) is not int or socket_bytes < 1:
            raise EngineError(f"socket_bytes: expected a whole number of at least 1, got {socket_bytes!r}")
        self.options, self.socket_bytes = options, socket_bytes
        self.holdings = Holdings(options.inbound_bytes, options.max_message_bytes)
        self._running = True

    async def stop(self) -> None:
        if not self._running:
            return
        self._running = False
        await self._transports.abort()

    def address(self) -> tuple[str, int] | None:
        return None

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

    def admit(self, request: Handshake) -> Accept | HttpReply:
        """The gate's answer; 503 when there is no gate."""
        return HttpReply(503, b"not serving\n") if self._admit is None else self._admit(request)

    def lost(self, transport: MemoryTransport) -> None:
        """The connection is gone."""
        self._transports.discard(transport)
