"""The namespaces of one Socket.IO client on the server, and packets whose attachments are still arriving.

One Engine.IO session carries all namespaces of a client. Pass every message of the session to `receive`, which returns
the event. The methods of the server return the messages to send. An invalid packet, or one that is not allowed now,
raises PacketFault and ends the session. The caller tracks pending acks. Nothing here does I/O or reads the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, NamedTuple

from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.attachments import MAIN, EngineioMessage
from mycelia.protocol.socketio.packets import (
    SocketKind,
    SocketPacket,
    connect_error,
    connected,
    disconnect,
    is_plain_event,
    read_packet,
    write_packet,
)
from mycelia.protocol.wire.envelope import ProtocolFault

__all__ = [
    "AckReceived",
    "ConnectRequested",
    "EventReceived",
    "NamespaceEvent",
    "NamespaceLeft",
    "NamespaceLimits",
    "Namespaces",
]


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """The limits for one client.

    Attributes:
        packet_bytes: The largest packet with all its attachments.
        attachments: The largest number of attachments of one packet.
        namespaces: The largest number of namespaces at a time.
        namespace_length: The longest name of a namespace, in characters.
        connect_timeout: The time in seconds that a client may be without a namespace.
        auth_bytes: The largest payload of a CONNECT packet.
    """

    packet_bytes: int = 1_000_000
    attachments: int = 64
    namespaces: int = 16
    namespace_length: int = 128
    connect_timeout: float = 45.0
    auth_bytes: int = 16 * 1024


class ConnectRequested(NamedTuple):
    """The client asks for a namespace. Answer with `accept` or `reject`; `auth` is the payload of its CONNECT."""

    namespace: str
    auth: dict[str, Any]


class NamespaceLeft(NamedTuple):
    """The client has left a namespace."""

    namespace: str


class EventReceived(NamedTuple):
    """The client has sent an event. If the packet has an id, the client expects `acknowledge`."""

    packet: SocketPacket


class AckReceived(NamedTuple):
    """The client has answered an event, whether or not that event asked for an answer."""

    packet: SocketPacket


NamespaceEvent = ConnectRequested | NamespaceLeft | EventReceived | AckReceived


class _State(Enum):
    PENDING = "the server has not answered CONNECT yet"
    CONNECTED = "the server has accepted CONNECT"
    LEFT = "the server has disconnected the client, which may not know it yet"


_PENDING, _CONNECTED, _LEFT = _State  # access to a member of an Enum class costs as much as a call


class Namespaces:
    """The namespaces of one client. After a PacketFault this object must not be used again.

    Attributes:
        held_bytes: The size of the packet whose attachments are still arriving.
        due: The time at which `check_timeout` is needed next.
    """

    __slots__ = ("_attachments", "_awaiting", "_connect_by", "_limits", "_states", "due", "held_bytes")

    def __init__(self, limits: NamespaceLimits, now: float) -> None:
        self._limits = limits
        self._states: dict[str, _State] = {}
        self._awaiting: SocketPacket | None = None
        self._attachments: list[bytes] = []
        self.held_bytes = 0
        self.due = self._connect_by = now + limits.connect_timeout

    # -- what the client sends -----------------------------------------------------------------------

    def is_plain_event(self, text: bytes) -> bool:
        """Return True for a complete event of the main namespace, which needs no `receive`.

        This is a short cut for the most frequent case.
        """
        if self._states.get(MAIN) is not _CONNECTED or self._awaiting is not None:
            return False
        return len(text) <= self._limits.packet_bytes and is_plain_event(text)

    def receive(self, payload: bytes, binary: bool, now: float) -> NamespaceEvent | None:
        """Return the event of a message, or None for a part of a packet and for a late packet. Raises PacketFault."""
        size = len(payload) + self.held_bytes
        if size > self._limits.packet_bytes:
            raise PacketFault(f"expected a packet of at most {self._limits.packet_bytes} bytes, got {size}", 1009)
        if binary:
            return self._attach(payload)
        if self._awaiting is not None:
            missing = self._awaiting.awaited - len(self._attachments)
            raise PacketFault(f"expected {missing} more attachments, got a text message")
        packet = read_packet(payload, self._limits.attachments)
        match packet.kind:
            case SocketKind.CONNECT:
                return self._connect(packet)
            case SocketKind.DISCONNECT:
                return self._leave(packet, now)
            case SocketKind.CONNECT_ERROR:
                raise PacketFault("expected no CONNECT_ERROR from a client")
        if self._states.get(packet.namespace, _PENDING) is _PENDING:
            raise PacketFault(f"expected CONNECT and its answer before {packet.kind.name}")
        if packet.awaited:
            self._awaiting, self.held_bytes = packet, size
            return None
        return self._complete(packet)

    def check_timeout(self, now: float) -> None:
        """Raise PacketFault if the client has been without a namespace for too long."""
        if now >= self.due:
            raise PacketFault(f"expected CONNECT within {self._limits.connect_timeout:g} s", 1008)

    # -- what the server sends -----------------------------------------------------------------------

    def is_connected(self, namespace: str) -> bool:
        """Return True if the client is connected to a namespace. Only then messages can be sent there."""
        return self._states.get(namespace) is _CONNECTED

    def accept(self, namespace: str, sid: str) -> tuple[EngineioMessage, ...]:
        """Accept a CONNECT. Returns no messages if the client has left the namespace meanwhile."""
        if self._states.get(namespace) is not _PENDING:
            return ()
        self._states[namespace] = _CONNECTED
        return (connected(namespace, sid),)

    def reject(self, namespace: str, now: float, message: str, data: object = None) -> tuple[EngineioMessage, ...]:
        """Answer a CONNECT with CONNECT_ERROR. The client may ask again."""
        if self._states.get(namespace) is not _PENDING:
            return ()
        self._forget(namespace, now)
        return (connect_error(namespace, message, data),)

    def disconnect(self, namespace: str, now: float) -> tuple[EngineioMessage, ...]:
        """End the client's connection to a namespace. Packets that the client has sent meanwhile are dropped."""
        if not self.is_connected(namespace):
            return ()
        self._states[namespace] = _LEFT
        self._update_due(now, _CONNECTED)
        return (disconnect(namespace),)

    def emit(self, namespace: str, values: Sequence[Any]) -> tuple[EngineioMessage, ...]:
        """Return an event, whose first value is its name, or nothing without a connection. Raises InvalidMessage."""
        return write_packet(SocketKind.EVENT, namespace, None, values) if self.is_connected(namespace) else ()

    def acknowledge(self, namespace: str, id_: int, values: Sequence[Any]) -> tuple[EngineioMessage, ...]:
        """Return the ack of a client's event, or nothing without a connection. Raises InvalidMessage."""
        return write_packet(SocketKind.ACK, namespace, id_, values) if self.is_connected(namespace) else ()

    # -- inside --------------------------------------------------------------------------------------

    def _attach(self, payload: bytes) -> NamespaceEvent | None:
        packet = self._awaiting
        if packet is None:
            raise PacketFault("expected a text message, got an attachment of no packet")
        self._attachments.append(payload)
        self.held_bytes += len(payload)
        if len(self._attachments) < packet.awaited:
            return None
        packet = packet._replace(awaited=0, attachments=tuple(self._attachments))
        self._awaiting, self._attachments, self.held_bytes = None, [], 0
        return self._complete(packet)

    def _complete(self, packet: SocketPacket) -> EventReceived | AckReceived | None:
        """Return the event, or None if the server has left the namespace while the packet was on its way."""
        if self._states.get(packet.namespace) is not _CONNECTED:
            return None
        return EventReceived(packet) if packet.kind is SocketKind.EVENT else AckReceived(packet)

    def _connect(self, packet: SocketPacket) -> ConnectRequested:
        name, limits = packet.namespace, self._limits
        state = self._states.get(name)
        if state is not None and state is not _LEFT:
            raise PacketFault("expected one CONNECT to a namespace, got another")
        if len(name) > limits.namespace_length:
            raise PacketFault(f"expected a namespace of at most {limits.namespace_length} characters", 1009)
        if state is None and len(self._states) >= limits.namespaces:
            raise PacketFault(f"expected at most {limits.namespaces} namespaces", 1008)
        if len(packet.data) > limits.auth_bytes:
            raise PacketFault(f"CONNECT: expected at most {limits.auth_bytes} bytes, got {len(packet.data)}", 1009)
        try:
            auth = packet.value() or {}
        except ProtocolFault as fault:
            raise PacketFault(f"CONNECT: {fault.message}") from None
        self._states[name] = _PENDING
        self.due = inf
        return ConnectRequested(name, auth)

    def _leave(self, packet: SocketPacket, now: float) -> NamespaceLeft | None:
        """Handle a DISCONNECT, also before the answer to CONNECT: then `accept` does nothing."""
        state = self._states.get(packet.namespace)
        if state is None:
            raise PacketFault("expected CONNECT before DISCONNECT")
        self._forget(packet.namespace, now)
        return None if state is _LEFT else NamespaceLeft(packet.namespace)

    def _forget(self, namespace: str, now: float) -> None:
        self._update_due(now, self._states.pop(namespace))

    def _update_due(self, now: float, old_state: _State) -> None:
        """Set the time by which a client without a namespace must ask for one. A rejection gives it no more time."""
        if old_state is _CONNECTED:
            self._connect_by = now + self._limits.connect_timeout
        if all(state is _LEFT for state in self._states.values()):
            self.due = self._connect_by
