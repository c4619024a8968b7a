"""Socket.IO packets, fifth version of the protocol: a head, JSON, and attachments that follow in messages of their own.

`read_packet` parses the head strictly and checks the JSON without decoding it. It rejects an invalid packet before any
value is built. The receiver of the packet decides when to decode it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from msgspec import Struct, json

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.attachments import (
    MAIN,
    EngineioMessage,
    extract_binary,
    holds_bytes,
    join,
    restore_binary,
)
from mycelia.protocol.wire.json import REFUSALS, JsonCodec
from mycelia.protocol.wire.value import fits, lower

__all__ = [
    "MAX_SENT_ATTACHMENTS",
    "RESERVED",
    "SocketKind",
    "SocketPacket",
    "connect_error",
    "connected",
    "disconnect",
    "is_namespace",
    "is_plain_event",
    "read_checked_packet",
    "read_packet",
    "write_packet",
]

MAX_SENT_ATTACHMENTS: Final = 10
"""The limit for packets to a client. Clients end the session when a packet has more attachments."""

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that clients use themselves. Clients reject a packet with such a name."""


class SocketKind(IntEnum):
    """The kinds of packet; the number is the first character of a packet."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


_EVENT: Final = SocketKind.EVENT
_BINARY: Final = {SocketKind.EVENT: SocketKind.BINARY_EVENT, SocketKind.ACK: SocketKind.BINARY_ACK}
_PLAIN: Final = {binary: plain for plain, binary in _BINARY.items()}
_SHAPES: Final = {
    SocketKind.CONNECT: "an object or nothing",
    SocketKind.EVENT: "an array that begins with a name",
    SocketKind.ACK: "an array",
    SocketKind.CONNECT_ERROR: "a string or an object",
}
_HEAD: Final = re.compile(rb"(?:([56])([0-9]{1,6})-|([0-4]))(?:(/[^,]*)(?:,|\Z))?([0-9]{1,16})?")
_EVENT_HEAD: Final = re.compile(rb"2[0-9]{0,15}(?=\[)").match  # in the main namespace, without attachments
_LARGEST_ID: Final = 2**53 - 1  # the largest integer that JavaScript represents exactly
_CODEC: Final = JsonCodec()


class _Object(Struct, gc=False):
    """Any JSON object, whose members are skipped."""


class _Array(Struct, array_like=True, gc=False):
    """Any JSON array."""


class _Call(Struct, array_like=True, gc=False):
    """A JSON array that begins with the name of an event."""

    name: str | int | float


_object = json.Decoder(_Object).decode
_array = json.Decoder(_Array).decode
_call = json.Decoder(_Call).decode
_string = json.Decoder(str).decode


class SocketPacket(NamedTuple):
    """A parsed packet.

    Attributes:
        kind: Never a BINARY kind: a packet is binary if it has attachments.
        namespace: The namespace that the packet is for.
        id: The id by which an ack belongs to its event.
        name: The name of an event.
        data: JSON of the right shape, not decoded.
        awaited: The number of attachments that have not come yet.
        attachments: The attachments in order.
    """

    kind: SocketKind
    namespace: str = MAIN
    id: int | None = None
    name: str | int | float | None = None
    data: bytes = b""
    awaited: int = 0
    attachments: tuple[bytes, ...] = ()

    def value(self) -> Any:
        """Return the decoded data with every attachment in its place, or None if there is no data.

        Raises ProtocolFault for data outside the data model, and PacketFault unless each attachment has exactly one
        placeholder.
        """
        if not self.data:
            return None
        value = _CODEC.decode_value(self.data)
        return restore_binary(value, self.attachments) if self.attachments else value

    def joined(self) -> bytes:
        """Return the packet in joined form, without its namespace."""
        id_ = b"" if self.id is None else b"%d" % self.id
        attachments = self.attachments
        if not attachments:
            return b"%d%b%b" % (self.kind, id_, self.data)
        text = b"%d%d-%b%b" % (_BINARY[self.kind], len(attachments), id_, self.data)
        return join([(text, False), *((each, True) for each in attachments)])


# -- reading -----------------------------------------------------------------------------------------------


def read_packet(text: bytes, max_attachments: int) -> SocketPacket:
    """Return the packet that a text message begins. Raises PacketFault."""
    kind, namespace, id_, awaited, data = _read_head(text, max_attachments)
    return SocketPacket(kind, namespace, id_, _check_data(kind, id_, data), data, awaited)


def read_checked_packet(text: bytes, attachments: tuple[bytes, ...]) -> SocketPacket:
    """Return a packet that `read_packet` has accepted before, without a second check of its JSON.

    The packet has no `name`. Raises PacketFault if its head is invalid.
    """
    kind, namespace, id_, _, data = _read_head(text, len(attachments))
    return SocketPacket(kind, namespace, id_, None, data, 0, attachments)


def is_plain_event(text: bytes) -> bool:
    """Return True for a valid event in the main namespace that has no attachments.

    This is a short cut for the most frequent case. `read_packet` accepts every event for which it returns True.
    """
    head = _EVENT_HEAD(text)
    if head is None:
        return False
    try:
        return _call(text[head.end() :]).name not in RESERVED
    except REFUSALS:
        return False


def is_namespace(name: str) -> bool:
    """Return True if a packet can carry this name of a namespace."""
    return name.startswith("/") and "," not in name and name.isprintable()


def _read_head(text: bytes, max_attachments: int) -> tuple[SocketKind, str, int | None, int, bytes]:
    """Return kind, namespace, id, number of attachments, and data."""
    head = _HEAD.match(text)
    if head is None:
        raise PacketFault(f'expected a packet such as `2["name"]`, got one that begins with {text[:1]!r}')
    binary, number, plain, namespace, digits = head.groups()
    kind = _PLAIN[SocketKind(int(binary))] if binary else SocketKind(int(plain))
    awaited = int(number) if number else 0
    if awaited > max_attachments:
        raise PacketFault(f"expected at most {max_attachments} attachments, got {awaited}", 1009)
    name = _namespace(namespace) if namespace else MAIN
    id_ = int(digits) if digits else None
    if id_ is not None and (kind not in _BINARY or id_ > _LARGEST_ID):
        raise PacketFault("expected an id only in events and acks, and at most 2**53 - 1")
    return kind, name, id_, awaited, text[head.end() :]


def _namespace(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise PacketFault("expected a namespace in UTF-8", 1007) from None
    if not name.isprintable():
        raise PacketFault("expected a namespace of printable characters")
    return name


def _check_data(kind: SocketKind, id_: int | None, data: bytes) -> str | int | float | None:
    """Return the name of an event, and None for other kinds. Raises PacketFault for data of the wrong shape."""
    try:
        match kind:
            case SocketKind.EVENT:
                name = _call(data).name
                if name in RESERVED:
                    raise PacketFault(f"expected an event whose name is not reserved, got {name!r}")
                return name
            case SocketKind.ACK:
                if id_ is None:
                    raise PacketFault("expected an ack with the id of its event")
                _array(data)
            case SocketKind.DISCONNECT:
                if data:
                    raise PacketFault("expected a DISCONNECT without data")
            case SocketKind.CONNECT:
                if data:
                    _object(data)
            case SocketKind.CONNECT_ERROR:
                (_string if data[:1] == b'"' else _object)(data)
    except REFUSALS:
        raise PacketFault(f"expected the data of {kind.name} to be {_SHAPES[kind]} in JSON") from None
    return None


# -- writing -----------------------------------------------------------------------------------------------


def write_packet(
    kind: SocketKind, namespace: str, id_: int | None, values: Sequence[Any]
) -> tuple[EngineioMessage, ...]:
    """Return the messages of an event, whose first value is its name, or of an ack. Bytes become attachments.

    Raises InvalidMessage for values that cannot be encoded, for a reserved name, and for too many attachments.
    """
    if kind not in _BINARY:
        raise ValueError(f"expected EVENT or ACK, got {kind.name}")
    if kind is _EVENT:
        name = values[0] if values else None
        if not isinstance(name, str) or name in RESERVED:
            raise InvalidMessage(f"expected an event whose name is a string and not reserved, got {name!r:.80}")
    whole: Any = values if type(values) is list else list(values)
    if not fits(whole):
        whole = lower(whole)
    attachments: list[bytes] = []
    if holds_bytes(whole):
        whole = extract_binary(whole, attachments)
        if len(attachments) > MAX_SENT_ATTACHMENTS:
            limit = f"expected at most {MAX_SENT_ATTACHMENTS} binary values in one Socket.IO packet"
            raise InvalidMessage(f"{limit}, because clients accept no more, got {len(attachments)}")
    number = b"%d-" % len(attachments) if attachments else b""
    sent_kind = _BINARY[kind] if attachments else kind
    shown_id = b"" if id_ is None else b"%d" % id_
    text = b"%d%b%b%b%b" % (sent_kind, number, _prefix(namespace), shown_id, _CODEC.encode_value(whole))
    return ((text, False), *((each, True) for each in attachments))


def connected(namespace: str, sid: str) -> EngineioMessage:
    """Return the packet that accepts a CONNECT."""
    return b"0%b%b" % (_prefix(namespace), _CODEC.encode_value({"sid": sid})), False


def connect_error(namespace: str, message: str, data: object = None) -> EngineioMessage:
    """Return the packet that rejects a CONNECT."""
    problem = {"message": message} if data is None else {"message": message, "data": data}
    return b"4%b%b" % (_prefix(namespace), _CODEC.encode_value(problem)), False


def disconnect(namespace: str) -> EngineioMessage:
    """Return the packet that ends the connection to a namespace."""
    return b"1" + _prefix(namespace), False


def _prefix(namespace: str) -> bytes:
    return b"" if namespace == MAIN else namespace.encode() + b","
