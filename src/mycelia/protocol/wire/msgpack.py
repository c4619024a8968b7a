"""The MessagePack codec: binary frames, by the subprotocol `mycelia.v1.msgpack`.

MessagePack can say more than the data model allows (keys of any type, NaN, unsigned 64-bit integers,
extensions), and none of it leaves a trace that is cheaper to find than a walk; every message is walked once.
Timestamps are the one extension that passes, as `datetime`; binary passes as `bytes`.
"""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError, msgpack

from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import (
    Envelope,
    Event,
    Outline,
    ProtocolFault,
    Request,
    ResponseWire,
    from_mapping,
    is_sound,
    to_mapping,
)
from mycelia.protocol.wire.value import MAX_DEPTH, check_value, fits, lower

__all__ = ["MsgpackCodec"]

_request = msgpack.Decoder(Request).decode
_response = msgpack.Decoder(ResponseWire).decode
_event = msgpack.Decoder(Event).decode
_outline = msgpack.Decoder(Outline).decode
_value = msgpack.Decoder().decode
_encode = msgpack.Encoder().encode
_REFUSALS: Final = (MsgspecError, ValueError, RecursionError, TypeError)


def _sizes() -> bytes:
    """How many bytes an item takes, by its first byte; 0 where a length or items follow (MessagePack's formats)."""
    sizes = [0] * 256
    sizes[0x00:0x80], sizes[0xE0:] = [1] * 0x80, [1] * 0x20  # small integers
    sizes[0xA0:0xC0] = range(1, 33)  # short strings
    sizes[0xC0:0xC4] = [1] * 4  # nil, one that is never used, false, true
    sizes[0xCA:0xD9] = [5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18]  # numbers, short extensions
    return bytes(sizes)


_SIZES: Final = _sizes()
_LENGTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}


class MsgpackCodec:
    """Envelopes as MessagePack maps."""

    __slots__ = ()

    name: str = "msgpack"
    binary: bool = True
    subprotocol: str | None = "mycelia.v1.msgpack"

    def decode(self, payload: bytes) -> Envelope:
        """The envelope in a message; raises `ProtocolFault` INVALID_MESSAGE."""
        envelope: Envelope
        try:
            match payload[2:3]:
                case b"s":
                    envelope = _response(payload).response()
                case b"e":
                    envelope = _event(payload)
                case _:
                    envelope = request = _request(payload)
                    if request.path is None:
                        return from_mapping(self.decode_value(payload))
        except _REFUSALS:
            return from_mapping(self.decode_value(payload))
        return envelope if is_sound(envelope) else from_mapping(self.decode_value(payload))

    def decode_value(self, payload: bytes) -> object:
        """Any value of the data model; raises `ProtocolFault` INVALID_MESSAGE."""
        try:
            value: object = _value(payload)
        except UnicodeDecodeError as error:
            raise _invalid("a string is not UTF-8") from error
        except RecursionError as error:
            raise _invalid(f"$: nested more than {MAX_DEPTH} deep") from error
        except _REFUSALS as error:
            problem = str(error).removeprefix("MessagePack data is malformed: ")
            raise _invalid(f"the message is not MessagePack: {problem}") from error
        if not fits(value):
            try:
                check_value(value)
            except InvalidMessage as error:
                raise _invalid(error.problem, _correlation(value)) from error
        return value

    def skim(self, payload: bytes) -> Envelope:
        """The envelope without its contents, which are skipped; of what is none, a request without a path."""
        try:
            return _outline(payload).envelope()
        except _REFUSALS:
            return Request()

    def crowded(self, payload: bytes, most: int) -> bool:
        """Whether a message holds more than `most` values, an empty container counting twice; without decoding it."""
        count, at, end, missing = 1, 0, len(payload), 1  # `missing` items are still to come
        if 2 * end <= most:
            return False
        while missing and at < end:
            first = payload[at]
            missing -= 1
            size = _SIZES[first]
            if size:
                at += size
                continue
            wide = _LENGTHS.get(first)
            if wide is not None:
                at += 1 + wide + int.from_bytes(payload[at + 1 : at + 1 + wide]) + (0xC7 <= first <= 0xC9)
                continue
            if first < 0xA0:
                items, mapping = first & 15, first < 0x90
                at += 1
            else:
                wide, mapping = 4 if first & 1 else 2, first >= 0xDE
                items = int.from_bytes(payload[at + 1 : at + 1 + wide])
                at += 1 + wide
            missing += 2 * items if mapping else items
            count += items or 1
            if count > most:
                return True
        return False

    def encode(self, envelope: Envelope) -> bytes:
        """The bytes of an envelope; `InvalidMessage` names the place that cannot be encoded."""
        if is_sound(envelope):
            try:
                return _encode(envelope)
            except UnicodeEncodeError:
                pass  # the slow way finds out where
        return self.encode_value(to_mapping(envelope))

    def encode_value(self, value: object) -> bytes:
        """The bytes of any value of the data model, dataclasses and the like included."""
        if fits(value):
            try:
                return _encode(value)
            except UnicodeEncodeError:
                pass  # the slow way finds out where
        return _encode(lower(value))


def _correlation(value: object) -> object:
    if isinstance(value, dict):
        correlation: object = value.get("correlationId")
        if fits(correlation, MAX_DEPTH - 1):
            return correlation
    return None


def _invalid(problem: str, correlation_id: object = None) -> ProtocolFault:
    return ProtocolFault(Code.INVALID_MESSAGE, problem, {"problem": problem}, correlation_id)
