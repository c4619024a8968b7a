"""RFC 6455 §5 frames: written without a mask, as servers do, and parsed strictly from a byte stream.

A server's frame is a few bytes of header before the payload. So a broadcast is framed once, and all receivers get the
same bytes. `mask_frame` writes the frames of a client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mycelia.errors import MyceliaError
from mycelia.protocol.wire.codes import close_payload

__all__ = [
    "CONTROL_LIMIT_BYTES",
    "Frame",
    "FrameFault",
    "FrameParser",
    "Opcode",
    "apply_mask",
    "binary_header",
    "close_frame",
    "frame",
    "header",
    "mask_frame",
    "ping_frame",
    "pong_frame",
    "text_header",
]


class Opcode(IntEnum):
    """The opcodes of RFC 6455 §11.8. Any other opcode is a protocol error."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


CONTROL_LIMIT_BYTES: Final = 125
_LENGTH_LIMIT: Final = 1 << 63


class FrameFault(MyceliaError):
    """The peer broke RFC 6455. The Close frame that ends the connection has this `close_code` and `reason`."""

    blame = "remote"

    def __init__(self, close_code: int, reason: str) -> None:
        self.close_code, self.reason = close_code, reason
        super().__init__(f"{close_code}: {reason}")


def header(opcode: int, length: int, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return the header of an unmasked frame, with the length in the fewest bytes (RFC 6455 §5.2).

    Raises:
        ValueError: The length exceeds 2⁶³-1, or a control frame has more than 125 bytes or is fragmented.
    """
    if opcode >= 8 and (length > CONTROL_LIMIT_BYTES or not fin):
        raise ValueError(f"control frame: expected one frame of at most {CONTROL_LIMIT_BYTES} bytes, got {length}")
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return b"%c\x7e%b" % (first, length.to_bytes(2))
    if length < _LENGTH_LIMIT:
        return b"%c\x7f%b" % (first, length.to_bytes(8))
    raise ValueError(f"frame: expected a length below 2**63, got {length}")


_TEXT: Final = tuple(header(Opcode.TEXT, length) for length in range(126))
_BINARY: Final = tuple(header(Opcode.BINARY, length) for length in range(126))


def text_header(length: int) -> bytes:
    """Return the header of a whole text message, for callers that join header and payload themselves."""
    if length < 126:
        return _TEXT[length]
    return b"\x81\x7e%b" % length.to_bytes(2) if length < 65536 else header(1, length)


def binary_header(length: int) -> bytes:
    """Return the header of a whole binary message."""
    if length < 126:
        return _BINARY[length]
    return b"\x82\x7e%b" % length.to_bytes(2) if length < 65536 else header(2, length)


def frame(payload: bytes, binary: bool) -> bytes:
    """Return a whole message as one unmasked frame, which any number of peers can get."""
    length = len(payload)
    if length < 126:
        return (_BINARY if binary else _TEXT)[length] + payload
    return (binary_header if binary else text_header)(length) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a Close frame. A long reason is truncated. Raise ValueError for a code that may not be sent."""
    payload = close_payload(code, reason)
    return header(Opcode.CLOSE, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """Return a Ping frame. Raise ValueError for a payload of more than 125 bytes."""
    return header(Opcode.PING, len(payload)) + payload


def pong_frame(payload: bytes = b"") -> bytes:
    """Return a Pong frame with the payload of the ping. Raise ValueError for more than 125 bytes."""
    return header(Opcode.PONG, len(payload)) + payload


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload (RFC 6455 §5.3). Both are the same operation."""
    length = len(payload)
    pad = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)


def mask_frame(opcode: int, payload: bytes, key: bytes, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a masked frame, as clients send it. Invalid frames are possible, because tests need them."""
    if len(key) != 4:
        raise ValueError(f"masking key: expected 4 bytes, got {len(key)}")
    length = len(payload)
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 65536:
        head = b"%c\xfe%b" % (first, length.to_bytes(2))
    else:
        head = b"%c\xff%b" % (first, length.to_bytes(8))
    return head + key + apply_mask(payload, key)


@dataclass(frozen=True, slots=True)
class Frame:
    """A parsed frame with an unmasked payload. `rsv` holds the three reserved bits, RSV1 as 4."""

    opcode: int
    fin: bool
    rsv: int
    payload: bytes
    masked: bool = False


class FrameParser:
    """Parses frames from a byte stream that is split anywhere. Raises FrameFault at the first invalid byte.

    It checks what a single frame shows: opcode, length, control frames, and the mask if `masked` is not None. The
    `Assembler` checks order, reserved bits and UTF-8. Do not feed a parser after it has raised.
    """

    __slots__ = ("_buffer", "_masked", "_max_bytes")

    def __init__(self, *, masked: bool | None = None, max_bytes: int = _LENGTH_LIMIT - 1) -> None:
        self._buffer = bytearray()
        self._masked = masked
        self._max_bytes = max_bytes

    @property
    def pending(self) -> int:
        """The number of buffered bytes of an incomplete frame; 0 between frames."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes, in order."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while (found := self._read(buffer, start)) is not None:
            one, start = found
            frames.append(one)
        del buffer[:start]
        return frames

    def _read(self, buffer: bytearray, start: int) -> tuple[Frame, int] | None:
        if len(buffer) > start:
            self._check_first(buffer[start])
        if len(buffer) < start + 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        masked, length = second >= 0x80, second & 0x7F
        at = start + 2
        if self._masked is not None and masked is not self._masked:
            raise FrameFault(1002, "frame is not masked" if self._masked else "frame is masked")
        if first & 0x08 and length > CONTROL_LIMIT_BYTES:
            raise FrameFault(1002, "control frame longer than 125 bytes")
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(buffer) < at + size:
                return None
            length = int.from_bytes(buffer[at : at + size])
            at += size
            if length < 126 or (size == 8 and not 65536 <= length < _LENGTH_LIMIT):
                raise FrameFault(1002, "frame length is not in its shortest form")
        if length > self._max_bytes:
            raise FrameFault(1009, f"frame of {length} bytes, at most {self._max_bytes} allowed")
        key_at, at = at, at + 4 if masked else at
        end = at + length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[at:end])
        if masked:
            payload = apply_mask(payload, bytes(buffer[key_at:at]))
        return Frame(first & 0x0F, first >= 0x80, first >> 4 & 7, payload, masked), end

    def _check_first(self, first: int) -> None:
        opcode = first & 0x0F
        if 3 <= opcode <= 7 or opcode > 10:
            raise FrameFault(1002, f"unknown opcode {opcode}")
        if opcode >= 8 and first < 0x80:
            raise FrameFault(1002, "control frame is fragmented")
