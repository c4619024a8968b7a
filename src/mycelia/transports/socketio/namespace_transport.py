"""One namespace of one Socket.IO client, as the transport of a connection."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mycelia.protocol.socketio.attachments import MAIN, split
from mycelia.protocol.wire.codes import Close, close_payload
from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.seam import Peer
from mycelia.transports.socketio.session_transport import SessionTransport

__all__ = ["NamespaceOwner", "NamespaceTransport"]

_BINARY = b"56"  # the first characters of packets with attachments


class NamespaceOwner(Protocol):
    """The client to which a namespace belongs."""

    def accept_namespace(self, namespace: str, connection_id: str) -> None:
        """Answer a CONNECT: the connection is accepted."""

    def disconnect_namespace(self, namespace: str, code: int, reason: str) -> None:
        """End the client's connection to a namespace."""

    def pause(self, transport: NamespaceTransport) -> None:
        """Stop reading for one of the namespaces."""

    def resume(self, transport: NamespaceTransport) -> None:
        """Read again, unless another namespace is paused."""

    def namespace_ended(self, namespace: str, transport: NamespaceTransport) -> None:
        """Forget the transport of a namespace, whose connection has ended."""


class NamespaceTransport:
    """The transport of one namespace. It sends nothing before the answer to CONNECT.

    Attributes:
        peer: The peer of the connection, or None after the end.
        closing: The close code and the reason of this side, or None.
    """

    def __init__(
        self, owner: NamespaceOwner, session: SessionTransport, namespace: str, deadline: float, peer: Peer
    ) -> None:
        self._owner, self._session, self._namespace, self._deadline = owner, session, namespace, deadline
        self.peer: Peer | None = peer
        self.closing: tuple[int, str] | None = None
        self._accepted = False

    @property
    def native(self) -> object:
        """The ASGI scope of the request that opened the session, which all its namespaces share."""
        return self._session.scope

    @property
    def deadline(self) -> float:
        """The event-loop time by which the connection must be accepted."""
        return self._deadline

    @property
    def compression(self) -> Compression | None:
        """The compression of frames, which is always None: the HTTP server compresses, if at all."""
        return None

    @property
    def buffered(self) -> int:
        """The number of bytes that wait in the session."""
        return self._session.buffered

    def send(self, payload: bytes, binary: bool) -> None:
        """Send one packet, which the codec has written in joined form."""
        if self.peer is None or self.closing is not None or not self._accepted:
            return
        if self._namespace is MAIN and payload[0] not in _BINARY:
            self._session.write(payload)
        else:
            self._session.send(split(payload, self._namespace))

    def accepted(self, connection_id: str) -> bool:
        """Answer the CONNECT packet, which tells the client the id of its connection."""
        if self.peer is not None and self.closing is None and not self._accepted:
            self._accepted = True
            self._owner.accept_namespace(self._namespace, connection_id)
        return True

    def close(self, code: int, reason: str) -> None:
        """Disconnect the client from the namespace, or end its session if the client should reconnect."""
        close_payload(code, reason)  # raises ValueError for a code or a reason that may not be sent
        if self.peer is not None and self.closing is None:
            self.closing = code, reason
            asyncio.get_running_loop().call_soon(self.end, code, reason)
            self._owner.disconnect_namespace(self._namespace, code, reason)

    def abort(self) -> None:
        """End the connection in the next iteration of the event loop."""
        if self.peer is not None:
            asyncio.get_running_loop().call_soon(self._abort)

    def pause(self) -> None:
        """Stop reading the session."""
        self._owner.pause(self)

    def resume(self) -> None:
        """Read the session again."""
        self._owner.resume(self)

    def end(self, code: int, reason: str) -> None:
        """Report the end of the connection to its peer, once."""
        peer, self.peer = self.peer, None
        if peer is not None:
            self._owner.namespace_ended(self._namespace, self)
            peer.closed(code, reason)

    def _abort(self) -> None:
        self._owner.disconnect_namespace(self._namespace, int(Close.ABNORMAL), "")
        self.end(int(Close.ABNORMAL), "")
