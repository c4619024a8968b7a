"""The JSON codec: text frames, with or without the subprotocol `mycelia.v1.json`.

Decoding goes straight into the struct of the envelope. That decoder accepts two things that the data model
does not: nesting beyond 64 and integers beyond 64 bits. Both leave traces in the bytes (more than 64 opening
brackets, a run of 19 digits) that cost less to look for than a walk over the values; only a message that has
them is walked. What the typed decoder refuses is judged again as a plain value, for the exact fault.
"""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError, json

from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import (
    Envelope,
    Event,
    Outline,
    ProtocolFault,
    Request,
    Response,
    ResponseMetadata,
    ResponseWire,
    from_mapping,
    is_sound,
    to_mapping,
)
from mycelia.protocol.wire.value import MAX_DEPTH, check_value, fits, lower

__all__ = ["REFUSALS", "JsonCodec", "may_misfit"]

_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else byte for byte in range(256))
_NOT_OPENING: Final = bytes(byte for byte in range(256) if chr(byte) not in "{[")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NOT_MARK: Final = bytes(byte for byte in range(256) if chr(byte) not in '{}[]"')
_LONG: Final = b"0" * len(str(2**63))
_SHALLOW: Final = 2 * MAX_DEPTH + 1
"""A message nested more than 64 deep has 65 opening and 65 closing brackets at least."""


_request = json.Decoder(Request).decode
_response = json.Decoder(ResponseWire).decode
_event = json.Decoder(Event).decode
_outline = json.Decoder(Outline).decode
_value = json.Decoder().decode
_encode = json.Encoder().encode
REFUSALS: Final = (MsgspecError, ValueError, RecursionError)  # what decoders raise


class JsonCodec:
    """Envelopes as JSON text (RFC 8259), UTF-8."""

    __slots__ = ()

    name: str = "json"
    binary: bool = False
    subprotocol: str | None = "mycelia.v1.json"

    def decode(self, payload: bytes) -> Envelope:
        """The envelope in a message; raises `ProtocolFault` INVALID_JSON or INVALID_MESSAGE."""
        if payload[2:3] == b"p":
            try:
                request = _request(payload)
            except REFUSALS:
                return from_mapping(self.decode_value(payload))
            if (
                request.path is not None
                and (len(payload) <= _SHALLOW or not _may_be_deep(payload))
                and payload.translate(_DIGITS).find(_LONG) < 0
            ):
                return request
            if request.path is not None and is_sound(request):
                return request
            return from_mapping(self.decode_value(payload))
        return self._decode(payload)

    def decode_value(self, payload: bytes) -> object:
        """Any JSON value, under the same checks; raises `ProtocolFault` INVALID_JSON."""
        try:
            value: object = _value(payload)
        except UnicodeDecodeError as error:
            raise _invalid("the message is not UTF-8") from error
        except RecursionError as error:
            raise _invalid(f"$: nested more than {MAX_DEPTH} deep") from error
        except (MsgspecError, ValueError) as error:
            raise _invalid(f"the message is not JSON: {str(error).removeprefix('JSON is malformed: ')}") from error
        if may_misfit(payload):
            try:
                check_value(value)
            except InvalidMessage as error:
                raise _invalid(error.problem, _correlation(value)) from error
        return value

    def skim(self, payload: bytes) -> Envelope:
        """The envelope without its contents, which are skipped; of what is none, a request without a path."""
        try:
            return _outline(payload).envelope()
        except REFUSALS:
            return Request()

    def crowded(self, payload: bytes, most: int) -> bool:
        """Whether a message holds more than `most` values, an empty container counting twice; without decoding it."""
        if _marks(payload) < most:
            return False
        if b"\\" in payload:
            payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
        if payload.count(b'"') > 4 * most:
            return True  # more strings than that many values and their keys
        return _marks(b"".join(payload.split(b'"')[::2])) >= most  # what is outside of strings

    def encode(self, envelope: Envelope) -> bytes:
        """The bytes of an envelope; `InvalidMessage` names the place that cannot be encoded."""
        if (
            type(envelope) is Response  # the hot case, spelled out: a success
            and envelope.error is None
            and (type(envelope.correlation_id) is str or fits(envelope.correlation_id, MAX_DEPTH - 1))
            and type(envelope.metadata) is ResponseMetadata
            and fits(envelope.data, MAX_DEPTH - 1)
        ) or is_sound(envelope):
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

    def _decode(self, payload: bytes) -> Envelope:
        """What does not begin with the key `path`: responses and events, or keys in another order."""
        envelope: Envelope
        try:
            match payload[2:3]:
                case b"s":
                    envelope = _response(payload).response()
                case b"e":
                    envelope = _event(payload)
                case _:
                    envelope = _request(payload)
        except REFUSALS:
            return from_mapping(self.decode_value(payload))
        absent = type(envelope) is Request and envelope.path is None
        if not absent and (not may_misfit(payload) or is_sound(envelope)):
            return envelope
        return from_mapping(self.decode_value(payload))


def may_misfit(payload: bytes) -> bool:
    """Whether decoded JSON may lie outside the data model; False is certain."""
    return (len(payload) > _SHALLOW and _may_be_deep(payload)) or payload.translate(_DIGITS).find(_LONG) >= 0


def _marks(text: bytes) -> int:
    """Commas and opening brackets: in JSON without its strings, the values but one, empty containers counting twice."""
    return len(text) - len(text.translate(None, b",[{"))  # counting one sign of many takes longer than this


def _may_be_deep(payload: bytes) -> bool:
    """Whether decoded JSON may be nested more than 64 deep; False is certain.

    Few opening brackets cannot be. Of many, the innermost pairs are taken out again and again: 64 times leave nothing.
    For that no bracket may stand in a string; if one does, its quotes stay when all pairs of quotes are taken out.
    """
    if len(payload.translate(None, _NOT_OPENING)) <= MAX_DEPTH:
        return False
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = payload.translate(_ONE_KIND, _NOT_MARK).replace(b'""', b"")
    if b'"' in marks:
        return True
    for _ in range(MAX_DEPTH):
        marks = marks.replace(b"[]", b"")
        if not marks:
            return False
    return True


def _correlation(value: object) -> object:
    if isinstance(value, dict):
        correlation: object = value.get("correlationId")
        if fits(correlation, MAX_DEPTH - 1):
            return correlation
    return None


def _invalid(problem: str, correlation_id: object = None) -> ProtocolFault:
    return ProtocolFault(Code.INVALID_JSON, problem, {"problem": problem}, correlation_id)
