"""The codec of the `socketio` engine: envelopes as Socket.IO events and acks.

The name of a client's event is the path of a request, and its first argument is the body. The ack is the response. An
event of the server is emitted under its own name. An envelope without a name, or with a reserved one, is sent as the
argument of the event `message`. Here a packet is one bytes object: the joined form of the main namespace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from msgspec import Struct, json

from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.socketio.attachments import MAIN, join, separate
from mycelia.protocol.socketio.packets import (
    RESERVED,
    SocketKind,
    SocketPacket,
    read_checked_packet,
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

__all__ = ["ENVELOPE_EVENT", "SUBPROTOCOL", "SocketioCodec"]

ENVELOPE_EVENT: Final = "message"
"""The event that carries a whole envelope, in both directions."""

SUBPROTOCOL: Final = "mycelia.v1.json"
"""The subprotocol that the engine offers for its clients, so that they receive system events too."""

_MAX_ATTACHMENTS: Final = 1_000_000  # no limit here: the engine has checked the packet
_PLAIN: Final = re.compile(rb"2([0-9]{0,15})(?=\[)").match  # an event without attachments
_SPECIAL: Final = RESERVED | {ENVELOPE_EVENT}
_EVENT, _ACK = SocketKind.EVENT, SocketKind.ACK
_JSON: Final = JsonCodec()
_PREFIX: Final = "s-"  # begins the correlation id of a request of the server; the id of its ack follows


class _Event(Struct, array_like=True, gc=False):
    """An event as a path and a body. Further arguments are skipped."""

    name: str
    body: Any = None


_read_event = json.Decoder(_Event).decode
_encode = json.Encoder().encode


class _AckCorrelation(NamedTuple):
    """The correlation of an envelope inside an event that asks for an ack."""

    id: int  # of the ack
    own: Any  # the correlation id of the envelope


class SocketioCodec:
    """Encodes envelopes as packets for a Socket.IO client, and decodes the packets of the client."""

    __slots__ = ()

    name: str = "socketio"
    binary: bool = False
    subprotocol: str | None = SUBPROTOCOL

    # -- in ------------------------------------------------------------------------------------------

    def decode(self, payload: bytes) -> Envelope:
        """Return the envelope in a packet. Raises ProtocolFault with the id of the ack that the client expects."""
        id_: int | None = None
        try:
            if head := _PLAIN(payload):
                id_ = int(head[1]) if head[1] else None
                event = _plain_event(payload[head.end() :])
                if event is not None:
                    return Request(event.name, event.body, id_, {"noReply": True} if id_ is None else None)
            text, attachments = separate(payload)
            packet = read_checked_packet(text, tuple(attachments))  # the engine has checked it: decode it once
            id_ = packet.id if packet.kind is _EVENT else None
            values = packet.value()
            if not isinstance(values, list) or packet.kind not in (_EVENT, _ACK):
                raise ProtocolFault(Code.INVALID_MESSAGE, "expected an event or an ack with an array as its data")
            return _response(packet, values) if packet.kind is _ACK else _request(packet, values)
        except ProtocolFault as fault:
            fault.correlation_id = id_ if id_ is not None else fault.correlation_id
            raise
        except PacketFault as fault:
            raise ProtocolFault(Code.INVALID_MESSAGE, fault.reason, {"problem": fault.reason}, id_) from None

    def decode_value(self, payload: bytes) -> object:
        """Return the envelope in a packet as a plain value. Raises ProtocolFault."""
        return to_mapping(self.decode(payload))

    def skim(self, payload: bytes) -> Envelope:
        """Decode only the header fields of an envelope. Returns an empty Request if the packet is invalid."""
        try:
            packet = read_packet(separate(payload)[0], _MAX_ATTACHMENTS)
        except PacketFault:
            return Request()
        if packet.kind is _ACK:
            return Response(True, None, f"{_PREFIX}{packet.id}")
        return Request(str(packet.name), None, packet.id, None if packet.id is not None else {"noReply": True})

    def crowded(self, payload: bytes, most: int) -> bool:
        """Return True if a packet holds more than `most` values, without decoding it. Empty containers count twice."""
        return _JSON.crowded(separate(payload)[0], most)

    # -- out -----------------------------------------------------------------------------------------

    def encode(self, envelope: Envelope) -> bytes:
        """Return the packet for an envelope. Raises InvalidMessage, which names the value that cannot be encoded."""
        if (
            type(envelope) is Response  # the most frequent case: a success without attachments
            and type(envelope.correlation_id) is int
            and envelope.error is None
            and type(envelope.metadata) is ResponseMetadata
            and fits(envelope.data, MAX_DEPTH - 1, TEXTUAL)
        ):
            try:
                return b"3%d[%b]" % (envelope.correlation_id, _encode(envelope))
            except UnicodeEncodeError:
                pass  # `encode_value` finds the place and names it
        if isinstance(envelope, Request):
            id_ = _ack_id(envelope.correlation_id)
            if id_ is not None and envelope.path not in RESERVED:
                return join(write_packet(_EVENT, MAIN, id_, [envelope.path, envelope.body]))
        return self.encode_value(to_mapping(envelope))

    def encode_value(self, value: object) -> bytes:
        """Return the packet for a plain value: the event or the ack that it describes, else a `message` event."""
        if isinstance(value, Mapping):
            reply, name = value.get("correlationId"), value.get("event")
            if "success" in value and isinstance(reply, _AckCorrelation):
                return join(write_packet(_ACK, MAIN, reply.id, [{**value, "correlationId": reply.own}]))
            if "success" in value and type(reply) is int:
                return join(write_packet(_ACK, MAIN, reply, [value]))
            if isinstance(name, str) and name not in RESERVED:
                extra = {key: each for key, each in value.items() if key not in ("event", "data")}
                values = [name, value.get("data"), extra] if extra else [name, value.get("data")]
                return join(write_packet(_EVENT, MAIN, None, values))
        return join(write_packet(_EVENT, MAIN, None, [ENVELOPE_EVENT, value]))


def _plain_event(data: bytes) -> _Event | None:
    """Return the most frequent case: a path and a body inside the data model. Other events give None.

    Raises ProtocolFault for invalid JSON.
    """
    try:
        event = _read_event(data)
    except REFUSALS:
        _JSON.decode_value(data)  # raises a fault that names the place; valid JSON may still have another shape
        return None
    return None if event.name in _SPECIAL or may_misfit(data) else event


def _request(packet: SocketPacket, values: list[Any]) -> Envelope:
    """Return an event of the client as an envelope; for the event `message`, the envelope that it carries."""
    name = values[0] if values else None
    if not isinstance(name, str) or name in RESERVED:
        problem = "expected the name of an event to be a string that is not reserved: the path"
        raise ProtocolFault(Code.INVALID_MESSAGE, problem)
    body = values[1] if len(values) > 1 else None
    silent = {"noReply": True} if packet.id is None else None
    if name != ENVELOPE_EVENT:
        return Request(name, body, packet.id, silent)
    envelope = from_mapping(body) if isinstance(body, Mapping) else Request(None, body, None, silent)
    if packet.id is None or not isinstance(envelope, Request):
        return envelope
    correlation = _AckCorrelation(packet.id, envelope.correlation_id)
    return Request(envelope.path, envelope.body, correlation, envelope.metadata)


def _response(packet: SocketPacket, values: list[Any]) -> Response:
    """Return an ack of the client as the response to the server's request: its envelope, else its data."""
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
    """Return the id of the ack for a request of the server, or None for another correlation id."""
    digits = correlation.removeprefix(_PREFIX) if isinstance(correlation, str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() else None
