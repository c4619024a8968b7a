"""One namespace of one Socket.IO client, as the transport of a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mycelia.protocol.socketio.codec import split
from mycelia.protocol.socketio.packets import MAIN
from mycelia.protocol.wire.codes import Close, close_payload
from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.seam import Peer

if TYPE_CHECKING:
    from mycelia.transports.socketio.client import SocketioClient

__all__ = ["NamespaceTransport"]

_BINARY = b"56"  # how packets with attachments begin


class NamespaceTransport:
    """The answer to CONNECT tells a client that it is accepted; nothing is sent before it.

    `native` is the scope of the request that opened the session, of which all its namespaces have one; None
    where that was a WebSocket which a carriage read.
    """

    def __init__(self, client: SocketioClient, namespace: str, deadline: float) -> None:
        self._client, self._line, self._namespace, self.deadline = client, client.line, namespace, deadline
        self.peer: Peer | None = None
        self.closing: tuple[int, str] | None = None  # what this side closes with
        self._joined = False

    @property
    def buffered(self) -> int:
        return self._line.buffered

    def send(self, payload: bytes, binary: bool) -> None:
        if self.peer is None or self.closing is not None:
            return
        if self._joined:
            if self._namespace is MAIN and payload[0] not in _BINARY:
                self._line.write(payload)
            else:
                self._line.send(split(payload, self._namespace))

    def accepted(self, connection_id: str) -> bool:
        """Answer the CONNECT packet, which tells the client its id."""
        if self.peer is not None and self.closing is None and not self._joined:
            self._joined = True
            self._line.send(self._client.namespaces.accept(self._namespace, connection_id))
        return True

    def close(self, code: int, reason: str) -> None:
        """A client that should come back loses the session; any other is told, and stays away."""
        close_payload(code, reason)  # raises for what may not be said
        if self.peer is not None and self.closing is None:
            self.closing = code, reason
            asyncio.get_running_loop().call_soon(self.over, code, reason)
            self._client.dismiss(self._namespace, code, reason)

    def abort(self) -> None:
        if self.peer is not None:
            asyncio.get_running_loop().call_soon(self._abort)

    def pause(self) -> None:
        self._client.pause(self)

    def resume(self) -> None:
        self._client.resume(self)

    @property
    def native(self) -> object:
        return self._line.scope

    @property
    def compression(self) -> Compression | None:
        return None

    def over(self, code: int, reason: str) -> None:
        """Tells the peer, once, that it is over."""
        peer, self.peer = self.peer, None
        if peer is not None:
            self._client.left(self._namespace, self)
            peer.closed(code, reason)

    def _abort(self) -> None:
        self._client.dismiss(self._namespace, int(Close.ABNORMAL), "")
        self.over(int(Close.ABNORMAL), "")
