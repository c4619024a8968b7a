"""Socket.IO packets, fifth version of the protocol: a head, JSON, and attachments that travel behind it.

A packet is one text and as many binary messages as it has attachments; in the JSON a placeholder stands for each. The
head is read strictly, and the JSON behind it checked without being decoded: a packet is refused before anything is made
of it, and whoever handles it decides when it is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from msgspec import Struct, json

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.wire.json import REFUSALS, JsonCodec
from mycelia.protocol.wire.value import fits, lower

__all__ = [
    "MAIN",
    "MOST_ATTACHMENTS",
    "RESERVED",
    "Message",
    "SocketKind",
    "SocketPacket",
    "connect_error",
    "connected",
    "disconnect",
    "holds_bytes",
    "is_namespace",
    "is_plain_event",
    "read_packet",
    "write_packet",
]

MAIN: Final = "/"
MOST_ATTACHMENTS: Final = 10
"""Of one packet that is sent: clients end the session over one with more."""

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that mean something to the clients themselves: an event that bears one is no packet to them."""

Message = tuple[bytes, bool]  # payload, and whether it is binary


class SocketKind(IntEnum):
    """The kinds of packet; the number is its first character."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


_BINARY: Final = {SocketKind.EVENT: SocketKind.BINARY_EVENT, SocketKind.ACK: SocketKind.BINARY_ACK}
_PLAIN: Final = {binary: plain for plain, binary in _BINARY.items()}
_HEAD: Final = re.compile(rb"(?:([56])([0-9]{1,6})-|([0-4]))(?:(/[^,]*)(?:,|\Z))?([0-9]{1,16})?")
_EVENT_HEAD: Final = re.compile(rb"2[0-9]{0,15}(?=\[)").match  # in the main namespace, without attachments
_LARGEST_ID: Final = 2**53 - 1  # what JavaScript can count
_CONTAINERS: Final = frozenset({dict, list, tuple})
_MARK: Final = "_placeholder"
_CODEC: Final = JsonCodec()


class _Object(Struct, gc=False):
    """Any JSON object; what is in it is skipped."""


class _Array(Struct, array_like=True, gc=False):
    """Any JSON array."""


class _Call(Struct, array_like=True, gc=False):
    """An array that begins with the name of an event."""

    name: str | int | float


_object = json.Decoder(_Object).decode
_array = json.Decoder(_Array).decode
_call = json.Decoder(_Call).decode
_text = json.Decoder(str).decode


class SocketPacket(NamedTuple):
    """A packet as it was read. Of kinds there are the plain ones only: `attachments` says whether it is binary.

    `data` is JSON of the right shape, not decoded. While a packet is being read, `awaited` attachments are to come.
    """

    kind: SocketKind
    namespace: str = MAIN
    id: int | None = None
    name: str | int | float | None = None
    data: bytes = b""
    awaited: int = 0
    attachments: tuple[bytes, ...] = ()

    def value(self) -> Any:
        """What it carries, with every attachment in its place; None where there is nothing.

        Raises ProtocolFault for what lies outside the data model, and PacketFault for placeholders that do not name
        each attachment once.
        """
        if not self.data:
            return None
        value = _CODEC.decode_value(self.data)
        if not self.attachments:
            return value
        missing = set(range(len(self.attachments)))
        value = _put_back(value, self.attachments, missing)
        if missing:
            raise PacketFault("expected a placeholder for every attachment")
        return value


def read_packet(text: bytes, max_attachments: int) -> SocketPacket:
    """The packet that a text message begins, or is. Raises PacketFault."""
    head = _HEAD.match(text)
    if head is None:
        raise PacketFault(f'expected a packet such as `2["name"]`, got one that begins {text[:1]!r}')
    binary, number, plain, namespace, digits = head.groups()
    kind = _PLAIN[SocketKind(int(binary))] if binary else SocketKind(int(plain))
    awaited = int(number) if number else 0
    if awaited > max_attachments:
        raise PacketFault(f"expected at most {max_attachments} attachments, got {awaited}", 1009)
    name = _namespace(namespace) if namespace else MAIN
    id_ = int(digits) if digits else None
    if id_ is not None and (kind not in _BINARY or id_ > _LARGEST_ID):
        raise PacketFault("expected an id on events and acks only, of at most 2**53 - 1")
    data = text[head.end() :]
    return SocketPacket(kind, name, id_, _checked_name(kind, id_, data), data, awaited)


def is_plain_event(text: bytes) -> bool:
    """Whether a text is an event in the main namespace that `read_packet` would take, and whole; in short."""
    head = _EVENT_HEAD(text)
    if head is None:
        return False
    try:
        return _call(text[head.end() :]).name not in RESERVED
    except REFUSALS:
        return False


def _namespace(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise PacketFault("expected a namespace in UTF-8", 1007) from None
    if not name.isprintable():
        raise PacketFault("expected a namespace of printable characters")
    return name


def _checked_name(kind: SocketKind, id_: int | None, data: bytes) -> str | int | float | None:
    """The name of an event, None for other kinds; PacketFault for data of another shape than its kind demands."""
    try:
        match kind:
            case SocketKind.EVENT:
                name = _call(data).name
                if name in RESERVED:
                    raise PacketFault("expected an event whose name is not reserved")
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
                (_text if data[:1] == b'"' else _object)(data)
    except REFUSALS:
        raise PacketFault(f"expected the data of {kind.name} to be {_SHAPES[kind]} in JSON") from None
    return None


_SHAPES: Final = {
    SocketKind.CONNECT: "an object or nothing",
    SocketKind.EVENT: "an array that begins with a name",
    SocketKind.ACK: "an array",
    SocketKind.CONNECT_ERROR: "a text or an object",
}


def _put_back(value: Any, attachments: Sequence[bytes], missing: set[int]) -> Any:
    if isinstance(value, list):
        return [_put_back(each, attachments, missing) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(_MARK) is True:
        number = value.get("num")
        if type(number) is not int or number not in missing:
            raise PacketFault(f"expected placeholders with each number below {len(attachments)} once")
        missing.remove(number)
        return attachments[number]
    return {key: _put_back(each, attachments, missing) for key, each in value.items()}


# -- writing -----------------------------------------------------------------------------------------------


def write_packet(kind: SocketKind, namespace: str, id_: int | None, values: Sequence[Any]) -> tuple[Message, ...]:
    """The messages of an event, whose first value is its name, or of an ack; bytes in it become attachments.

    Raises InvalidMessage for what cannot be encoded, for a name that clients would take for their own, and for more
    attachments than they take.
    """
    if kind not in _BINARY:
        raise ValueError(f"expected EVENT or ACK, got {kind.name}")
    if kind is SocketKind.EVENT:
        name = values[0] if values else None
        if not isinstance(name, str) or name in RESERVED:
            raise InvalidMessage(f"expected an event whose name is a text and not reserved, got {name!r:.80}")
    whole: Any = values if type(values) is list else list(values)
    if not fits(whole):
        whole = lower(whole)
    attachments: list[bytes] = []
    if holds_bytes(whole):
        whole = _take_out(whole, attachments)
        if len(attachments) > MOST_ATTACHMENTS:
            most = f"expected at most {MOST_ATTACHMENTS} binary values in one Socket.IO packet"
            raise InvalidMessage(f"{most}, which is what clients take, got {len(attachments)}")
    number = b"%d-" % len(attachments) if attachments else b""
    shown = _BINARY[kind] if attachments else kind
    tail = b"" if id_ is None else b"%d" % id_
    text = b"%d%b%b%b%b" % (shown, number, _prefix(namespace), tail, _CODEC.encode_value(whole))
    return ((text, False), *((each, True) for each in attachments))


def connected(namespace: str, sid: str) -> Message:
    """The answer to a CONNECT that is granted."""
    return b"0%b%b" % (_prefix(namespace), _CODEC.encode_value({"sid": sid})), False


def connect_error(namespace: str, message: str, data: object = None) -> Message:
    """The answer to a CONNECT that is not."""
    problem = {"message": message} if data is None else {"message": message, "data": data}
    return b"4%b%b" % (_prefix(namespace), _CODEC.encode_value(problem)), False


def disconnect(namespace: str) -> Message:
    """The end of a connection to a namespace."""
    return b"1" + _prefix(namespace), False


def _prefix(namespace: str) -> bytes:
    return b"" if namespace == MAIN else namespace.encode() + b","


def holds_bytes(value: Any) -> bool:
    """Whether there is binary data in a value."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return kind is bytes
    for each in value.values() if kind is dict else value:
        kind = type(each)
        if kind is bytes or (kind in _CONTAINERS and holds_bytes(each)):
            return True
    return False


def _take_out(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, bytes):
        attachments.append(value)
        return {_MARK: True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [_take_out(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(_MARK) is True:
        raise InvalidMessage(f"expected no object with a true `{_MARK}` beside binary data: clients would replace it")
    return {key: _take_out(each, attachments) for key, each in value.items()}


def is_namespace(name: str) -> bool:
    """Whether a name can stand in a packet."""
    return name.startswith("/") and "," not in name and name.isprintable()
