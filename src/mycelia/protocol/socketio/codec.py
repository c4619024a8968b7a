"""Envelopes as Socket.IO events and acks: the codec of the `socketio` engine.

An event's name is the path of a request and its first argument the body; the ack that it asks for is the response. An
event of the server is emitted under its own name. What has no name of its own, or one that clients keep for themselves,
travels whole as the event `message`. A packet is one bytes object here: its text, as in the main namespace, then its
attachments and their lengths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct, json

from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.packets import (
    MAIN,
    RESERVED,
    Message,
    SocketKind,
    SocketPacket,
    read_packet,
    write_packet,
)
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import (
    Envelope,
    ProtocolFault,
    Request,
    Response,
    ResponseMetadata,
    from_mapping,
    to_mapping,
)
from mycelia.protocol.wire.json import REFUSALS, JsonCodec, may_misfit
from mycelia.protocol.wire.value import MAX_DEPTH, TEXTUAL, fits

__all__ = ["AGREED", "WHOLE", "SocketioCodec", "join", "rejoin", "split"]

WHOLE: Final = "message"
"""The event that carries a whole envelope, either way."""

AGREED: Final = "mycelia.v1.json"
"""What the engine offers for its clients: who agrees on a language of ours is sent notices too."""

_MOST: Final = 1_000_000  # attachments; the engine has bounded them
_SIZE: Final = 4  # bytes of a length
_PLAIN: Final = re.compile(rb"2([0-9]{0,15})(?=\[)").match  # an event without attachments
_APART: Final = RESERVED | {WHOLE}
_EVENT, _ACK = SocketKind.EVENT, SocketKind.ACK
_JSON: Final = JsonCodec()
_PREFIX: Final = "s-"  # of the correlation ids of our own requests; what follows is the id of their ack


class _Event(Struct, array_like=True, gc=False):
    """An event that is a path and a body; what comes behind is skipped."""

    name: str
    body: Any = None


_read_event = json.Decoder(_Event).decode
_encode = json.Encoder().encode


class _Reply(NamedTuple):
    """The correlation of a whole envelope whose event wants an ack: that one's id, and the envelope's own."""

    id: int
    own: Any


def join(messages: Sequence[Message]) -> bytes:
    """The messages of one packet as one bytes object."""
    text = messages[0][0]
    if len(messages) == 1:
        return text
    pieces = [payload for payload, _ in messages[1:]]
    return b"".join((text, *pieces, *(len(piece).to_bytes(_SIZE) for piece in pieces)))


def rejoin(packet: SocketPacket) -> bytes:
    """A packet that was read as one bytes object, without its namespace."""
    tail = b"" if packet.id is None else b"%d" % packet.id
    pieces = packet.attachments
    if not pieces:
        return b"%d%b%b" % (packet.kind, tail, packet.data)
    kind = SocketKind.BINARY_EVENT if packet.kind is _EVENT else SocketKind.BINARY_ACK
    text = b"%d%d-%b%b" % (kind, len(pieces), tail, packet.data)
    return join([(text, False), *((piece, True) for piece in pieces)])


def split(payload: bytes, namespace: str = MAIN) -> list[Message]:
    """The messages of a packet that `join` made one, for a namespace."""
    text, pieces = _split(payload)
    if namespace != MAIN:
        at = text.index(b"-") + 1 if pieces else 1
        text = b"%b%b,%b" % (text[:at], namespace.encode(), text[at:])
    return [(text, False), *((piece, True) for piece in pieces)]


def _split(payload: bytes) -> tuple[bytes, list[bytes]]:
    if payload[:1] not in (b"5", b"6"):
        return payload, []
    number = int(payload[1 : payload.index(b"-")])
    end = len(payload) - _SIZE * number
    sizes = [int.from_bytes(payload[end + at * _SIZE : end + (at + 1) * _SIZE]) for at in range(number)]
    start = at = end - sum(sizes)
    pieces = []
    for size in sizes:
        pieces.append(payload[at : at + size])
        at += size
    return payload[:start], pieces


class SocketioCodec:
    """Envelopes as events and acks of a Socket.IO client."""

    __slots__ = ()

    name: str = "socketio"
    binary: bool = False
    subprotocol: str | None = AGREED

    # -- in ------------------------------------------------------------------------------------------

    def decode(self, payload: bytes) -> Envelope:
        """The envelope in a packet; raises ProtocolFault, with the id of the ack that is waited for."""
        id_: int | None = None
        try:
            if head := _PLAIN(payload):
                id_ = int(head[1]) if head[1] else None
                event = _plain_event(payload[head.end() :])
                if event is not None:
                    return Request(event.name, event.body, id_, {"noReply": True} if id_ is None else None)
            text, pieces = _split(payload)
            packet = read_packet(text, _MOST)._replace(awaited=0, attachments=tuple(pieces))
            id_ = packet.id if packet.kind is _EVENT else None
            values = packet.value()
            return _answered(packet, values) if packet.kind is _ACK else _asked(packet, values)
        except ProtocolFault as fault:
            fault.correlation_id = id_ if id_ is not None else fault.correlation_id
            raise
        except PacketFault as fault:
            raise ProtocolFault(Code.INVALID_MESSAGE, fault.reason, {"problem": fault.reason}, id_) from None

    def decode_value(self, payload: bytes) -> object:
        """The envelope in a packet as a plain value; raises ProtocolFault."""
        return to_mapping(self.decode(payload))

    def skim(self, payload: bytes) -> Envelope:
        """The envelope without its contents; of what is none, a request without a path."""
        try:
            packet = read_packet(_split(payload)[0], _MOST)
        except PacketFault:
            return Request()
        if packet.kind is _ACK:
            return Response(True, None, f"{_PREFIX}{packet.id}")
        return Request(str(packet.name), None, packet.id, None if packet.id is not None else {"noReply": True})

    def crowded(self, payload: bytes, most: int) -> bool:
        """Whether a packet holds more than `most` values, an empty container counting twice; without decoding it."""
        return _JSON.crowded(_split(payload)[0], most)

    # -- out -----------------------------------------------------------------------------------------

    def encode(self, envelope: Envelope) -> bytes:
        """The packet of an envelope; raises InvalidMessage naming what cannot be encoded."""
        if (
            type(envelope) is Response  # the hot case: a success, without attachments
            and type(envelope.correlation_id) is int
            and envelope.error is None
            and type(envelope.metadata) is ResponseMetadata
            and fits(envelope.data, MAX_DEPTH - 1, TEXTUAL)
        ):
            try:
                return b"3%d[%b]" % (envelope.correlation_id, _encode(envelope))
            except UnicodeEncodeError:
                pass  # the slow way finds out where
        if isinstance(envelope, Request):
            id_ = _ack_id(envelope.correlation_id)
            if id_ is not None and envelope.path not in RESERVED:
                return join(write_packet(_EVENT, MAIN, id_, [envelope.path, envelope.body]))
        return self.encode_value(to_mapping(envelope))

    def encode_value(self, value: object) -> bytes:
        """The packet of a plain value: the event that it describes, the ack of one, else `message`."""
        if isinstance(value, Mapping):
            reply, name = value.get("correlationId"), value.get("event")
            if "success" in value and isinstance(reply, _Reply):
                return join(write_packet(_ACK, MAIN, reply.id, [{**value, "correlationId": reply.own}]))
            if "success" in value and type(reply) is int:
                return join(write_packet(_ACK, MAIN, reply, [value]))
            if isinstance(name, str) and name not in RESERVED:
                rest = {key: each for key, each in value.items() if key not in ("event", "data")}
                values = [name, value.get("data"), rest] if rest else [name, value.get("data")]
                return join(write_packet(_EVENT, MAIN, None, values))
        return join(write_packet(_EVENT, MAIN, None, [WHOLE, value]))


def _plain_event(data: bytes) -> _Event | None:
    """The hot case: a path and a body inside the data model; None for what is to be looked at more closely.

    Raises ProtocolFault for what is no JSON.
    """
    try:
        event = _read_event(data)
    except REFUSALS:
        _JSON.decode_value(data)  # which says what is wrong, and where; of another shape it may be yet
        return None
    return None if event.name in _APART or may_misfit(data) else event


def _asked(packet: SocketPacket, values: list[Any]) -> Envelope:
    body = values[1] if len(values) > 1 else None
    silent = {"noReply": True} if packet.id is None else None
    if packet.name != WHOLE:
        if not isinstance(packet.name, str):
            raise ProtocolFault(Code.INVALID_MESSAGE, "expected the name of an event to be a text: the path")
        return Request(packet.name, body, packet.id, silent)
    envelope = from_mapping(body) if isinstance(body, Mapping) else Request(None, body, None, silent)
    if packet.id is None or not isinstance(envelope, Request):
        return envelope
    return Request(envelope.path, envelope.body, _Reply(packet.id, envelope.correlation_id), envelope.metadata)


def _answered(packet: SocketPacket, values: list[Any]) -> Response:
    """A client's ack as the response to our request: an envelope if it is one, else the data."""
    correlation = f"{_PREFIX}{packet.id}"
    data = values[0] if values else None
    if isinstance(data, Mapping) and isinstance(data.get("success"), bool):
        try:
            envelope = from_mapping({**data, "correlationId": correlation})
        except ProtocolFault:
            return Response(data["success"], data.get("data"), correlation)
        if isinstance(envelope, Response):
            return envelope
    return Response(True, data, correlation)


def _ack_id(correlation: object) -> int | None:
    text = correlation.removeprefix(_PREFIX) if isinstance(correlation, str) else ""
    return int(text) if text.isascii() and text.isdigit() else None
