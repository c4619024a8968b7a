"""RFC 6455 §5 frames: written without a mask as servers do, and read strictly from a stream of bytes.

A server's frames are a few bytes of header before the payload, so a broadcast is framed once and the same
bytes go to everybody. `FrameParser` and `mask_frame` are the client's half, for clients and tests.
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
    """The opcodes of RFC 6455 §11.8; every other one is a protocol error."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


CONTROL_LIMIT_BYTES: Final = 125
_LENGTH_LIMIT: Final = 1 << 63


class FrameFault(MyceliaError):
    """The peer broke RFC 6455; the connection fails with `close_code` and `reason` in its Close."""

    blame = "remote"

    def __init__(self, close_code: int, reason: str) -> None:
        self.close_code, self.reason = close_code, reason
        super().__init__(f"{close_code}: {reason}")


def header(opcode: int, length: int, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """The header of an unmasked frame, its length in the fewest bytes (RFC 6455 §5.2).

    ValueError for a length beyond 2⁶³-1, and for a control frame of more than 125 bytes or without `fin`.
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
    """The header of a whole text message; for writers that join headers and payloads themselves."""
    if length < 126:
        return _TEXT[length]
    return b"\x81\x7e%b" % length.to_bytes(2) if length < 65536 else header(1, length)


def binary_header(length: int) -> bytes:
    """The header of a whole binary message."""
    if length < 126:
        return _BINARY[length]
    return b"\x82\x7e%b" % length.to_bytes(2) if length < 65536 else header(2, length)


def frame(payload: bytes, binary: bool) -> bytes:
    """A whole message as one unmasked frame, ready to be written to any number of peers."""
    length = len(payload)
    if length < 126:
        return (_BINARY if binary else _TEXT)[length] + payload
    return (binary_header if binary else text_header)(length) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A Close; the reason is cut to what fits. ValueError for a code that may not be sent."""
    payload = close_payload(code, reason)
    return header(Opcode.CLOSE, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; ValueError beyond 125 bytes."""
    return header(Opcode.PING, len(payload)) + payload


def pong_frame(payload: bytes = b"") -> bytes:
    """A pong, which repeats the ping's payload; ValueError beyond 125 bytes."""
    return header(Opcode.PONG, len(payload)) + payload


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 §5.3): the two are the same."""
    length = len(payload)
    pad = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(length)


def mask_frame(opcode: int, payload: bytes, key: bytes, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a client sends it. Builds what it is told to, the forbidden too: it also serves tests."""
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
    """One frame as it was read; the payload is unmasked. `rsv` holds the three reserved bits, RSV1 as 4."""

    opcode: int
    fin: bool
    rsv: int
    payload: bytes
    masked: bool = False


class FrameParser:
    """Turns bytes, cut anywhere, into frames; raises FrameFault at the first byte that cannot be right.

    It judges what one frame can show: opcodes, lengths, control frames, and masking where `masked` says what
    to expect. Order, reserved bits and text are for the `Assembler`. After a fault it must not be fed again.
    """

    __slots__ = ("_buffer", "_masked", "_max_bytes")

    def __init__(self, *, masked: bool | None = None, max_bytes: int = _LENGTH_LIMIT - 1) -> None:
        self._buffer = bytearray()
        self._masked = masked
        self._max_bytes = max_bytes

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held; 0 between frames."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
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
