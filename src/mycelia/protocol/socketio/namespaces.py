"""What one Socket.IO client is connected to, on the server's side: namespaces, and packets in pieces.

One Engine.IO session carries all namespaces of a client. Each of its messages is fed to `receive`, which says what it
means; what the server does returns the messages to send. What is no packet, or comes where it may not, is a PacketFault
after which the session is over. Which acks are awaited is for others to know. Nothing here waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, NamedTuple

from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.packets import (
    MAIN,
    Message,
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

__all__ = ["Acked", "Bounds", "Called", "Happening", "Joining", "Left", "Namespaces"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one client may have; the time in seconds."""

    packet_bytes: int = 1_000_000  # of a packet with all its attachments
    attachments: int = 64
    namespaces: int = 16
    namespace_length: int = 128
    connect_timeout: float = 45.0  # without any namespace
    auth_bytes: int = 16 * 1024  # of what CONNECT brings, as of a head in HTTP


class Joining(NamedTuple):
    """The client asks for a namespace; answer with `accept` or `refuse`. `auth` is what it brought along."""

    namespace: str
    auth: dict[str, Any]


class Left(NamedTuple):
    """The client has left a namespace."""

    namespace: str


class Called(NamedTuple):
    """An event of the client's; where the packet has an id, `answer` is expected."""

    packet: SocketPacket


class Acked(NamedTuple):
    """The client's answer to an event, whether or not that asked for one."""

    packet: SocketPacket


Happening = Joining | Left | Called | Acked


class _Phase(Enum):
    PENDING = "asked for"
    JOINED = "connected"
    LEFT = "left by the server, which the client may not know yet"


_PENDING, _JOINED, _LEFT = _Phase  # reading a member of an Enum class costs as much as a call


class Namespaces:
    """The namespaces of one client. After a PacketFault it must not be used again."""

    __slots__ = ("_awaiting", "_bounds", "_phases", "_pieces", "_until", "due", "held_bytes")

    def __init__(self, bounds: Bounds, now: float) -> None:
        self._bounds = bounds
        self._phases: dict[str, _Phase] = {}
        self._awaiting: SocketPacket | None = None
        self._pieces: list[bytes] = []
        self.held_bytes = 0  # of a packet whose attachments have not all come
        self.due = self._until = now + bounds.connect_timeout  # when `check` is wanted next

    # -- what the client sends -----------------------------------------------------------------------

    def passes(self, text: bytes) -> bool:
        """Whether a text is an event for the main namespace, whole as it stands: `receive` in short."""
        if self._phases.get(MAIN) is not _JOINED or self._awaiting is not None:
            return False
        return len(text) <= self._bounds.packet_bytes and is_plain_event(text)

    def receive(self, payload: bytes, binary: bool, now: float) -> Happening | None:
        """What a message means; None for a part of a packet, and for what comes too late. Raises PacketFault."""
        size = len(payload) + self.held_bytes
        if size > self._bounds.packet_bytes:
            raise PacketFault(f"expected a packet of at most {self._bounds.packet_bytes} bytes, got {size}", 1009)
        if binary:
            return self._attach(payload)
        if self._awaiting is not None:
            raise PacketFault(f"expected {self._awaiting.awaited - len(self._pieces)} more attachments, got a text")
        packet = read_packet(payload, self._bounds.attachments)
        match packet.kind:
            case SocketKind.CONNECT:
                return self._join(packet)
            case SocketKind.DISCONNECT:
                return self._leave(packet, now)
            case SocketKind.CONNECT_ERROR:
                raise PacketFault("expected no CONNECT_ERROR from a client")
        if self._phases.get(packet.namespace, _PENDING) is _PENDING:
            raise PacketFault(f"expected CONNECT and its answer before {packet.kind.name}")
        if packet.awaited:
            self._awaiting, self.held_bytes = packet, size
            return None
        return self._whole(packet)

    def _attach(self, payload: bytes) -> Happening | None:
        packet = self._awaiting
        if packet is None:
            raise PacketFault("expected a text, got an attachment of no packet")
        self._pieces.append(payload)
        self.held_bytes += len(payload)
        if len(self._pieces) < packet.awaited:
            return None
        packet = packet._replace(awaited=0, attachments=tuple(self._pieces))
        self._awaiting, self._pieces, self.held_bytes = None, [], 0
        return self._whole(packet)

    def _whole(self, packet: SocketPacket) -> Called | Acked | None:
        """None where the server has left the namespace while this was on its way."""
        if self._phases.get(packet.namespace) is not _JOINED:
            return None
        return Called(packet) if packet.kind is SocketKind.EVENT else Acked(packet)

    def _join(self, packet: SocketPacket) -> Joining:
        name = packet.namespace
        phase = self._phases.get(name)
        if phase is not None and phase is not _LEFT:
            raise PacketFault("expected one CONNECT to a namespace, got another")
        if len(name) > self._bounds.namespace_length:
            raise PacketFault(f"expected a namespace of at most {self._bounds.namespace_length} characters", 1009)
        if phase is None and len(self._phases) >= self._bounds.namespaces:
            raise PacketFault(f"expected at most {self._bounds.namespaces} namespaces", 1008)
        if len(packet.data) > self._bounds.auth_bytes:
            raise PacketFault(f"CONNECT: expected at most {self._bounds.auth_bytes} bytes", 1009)
        try:
            auth = packet.value() or {}
        except ProtocolFault as fault:
            raise PacketFault(f"CONNECT: {fault.message}") from None
        self._phases[name] = _PENDING
        self.due = inf
        return Joining(name, auth)

    def _leave(self, packet: SocketPacket, now: float) -> Left | None:
        """Also before its CONNECT is answered: then `accept` finds nobody."""
        phase = self._phases.get(packet.namespace)
        if phase is None:
            raise PacketFault("expected CONNECT before DISCONNECT")
        self._forget(packet.namespace, now)
        return None if phase is _LEFT else Left(packet.namespace)

    def check(self, now: float) -> None:
        """Raises PacketFault when the client has been without a namespace for too long."""
        if now >= self.due:
            raise PacketFault(f"expected CONNECT within {self._bounds.connect_timeout:g} s", 1008)

    # -- what the server sends -----------------------------------------------------------------------

    def joined(self, namespace: str) -> bool:
        """Whether the client is connected to it; only then anything can be sent there."""
        return self._phases.get(namespace) is _JOINED

    def accept(self, namespace: str, sid: str) -> tuple[Message, ...]:
        """Grants a CONNECT; nothing is sent when the client no longer waits for it."""
        if self._phases.get(namespace) is not _PENDING:
            return ()
        self._phases[namespace] = _JOINED
        return (connected(namespace, sid),)

    def refuse(self, namespace: str, now: float, message: str, data: object = None) -> tuple[Message, ...]:
        """Answers a CONNECT with CONNECT_ERROR; the client may ask again."""
        if self._phases.get(namespace) is not _PENDING:
            return ()
        self._forget(namespace, now)
        return (connect_error(namespace, message, data),)

    def leave(self, namespace: str, now: float) -> tuple[Message, ...]:
        """Ends the client's connection to a namespace; what it has sent meanwhile is dropped."""
        if not self.joined(namespace):
            return ()
        self._phases[namespace] = _LEFT
        self._rest(now, _JOINED)
        return (disconnect(namespace),)

    def emit(self, namespace: str, values: Sequence[Any]) -> tuple[Message, ...]:
        """An event, its name first; nothing when the client is not there. Raises InvalidMessage."""
        return write_packet(SocketKind.EVENT, namespace, None, values) if self.joined(namespace) else ()

    def answer(self, namespace: str, id_: int, values: Sequence[Any]) -> tuple[Message, ...]:
        """The ack of a client's event; nothing when the client is not there. Raises InvalidMessage."""
        return write_packet(SocketKind.ACK, namespace, id_, values) if self.joined(namespace) else ()

    # -- inside --------------------------------------------------------------------------------------

    def _forget(self, namespace: str, now: float) -> None:
        self._rest(now, self._phases.pop(namespace))

    def _rest(self, now: float, was: _Phase) -> None:
        """Without a namespace a client has only so much time, which no refusal gives it anew."""
        if was is _JOINED:
            self._until = now + self._bounds.connect_timeout
        if all(phase is _LEFT for phase in self._phases.values()):
            self.due = self._until
