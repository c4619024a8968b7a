"""Frames to messages: what a WebSocket library leaves to its user, decided once for every engine.

Order of fragments, reserved bits, compression, UTF-8, the size of a whole message. The codes are RFC 6455's (§7.4.1),
so a peer hears the same verdict whatever library reads it.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable

from mycelia.protocol.wire.codes import CloseFault, parse_close
from mycelia.protocol.ws.frames import CONTROL_LIMIT_BYTES, FrameFault

__all__ = ["Assembler", "FrameFault", "Inflate", "Message", "check_close", "check_text"]

Message = tuple[bytes, bool]  # payload, and whether it is binary
Inflate = Callable[[bytes | bytearray, int], bytes]
"""Makes a message of its compressed form; raises FrameFault when it is larger than so many bytes."""

_RSV1 = 4


def check_text(payload: bytes) -> None:
    """Raise FrameFault (1007) unless a whole text message is UTF-8 (RFC 6455 §8.1)."""
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise FrameFault(1007, "text is not UTF-8") from None


def check_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close, 1005 for an empty one (RFC 6455 §7.1.5); FrameFault for a bad one."""
    try:
        return parse_close(payload)
    except CloseFault as fault:
        raise FrameFault(int(fault.code), fault.reason) from fault


class Assembler:
    """Puts the fragments of one peer's messages together and fails at the first that cannot be right.

    Frames of all kinds are fed in the order in which they came. Between messages it holds no buffer, and a
    message that is one frame never makes one. After a FrameFault the connection is over: feed it no more.
    """

    __slots__ = ("_binary", "_buffer", "_inflate", "_packed", "_tail", "max_bytes")

    def __init__(self, max_bytes: int, inflate: Inflate | None = None) -> None:
        self.max_bytes = max_bytes
        self._inflate = inflate
        self._packed = False  # the message whose fragments come is compressed
        self._buffer: bytearray | None = None
        self._binary = False
        self._tail = b""  # the beginning of a character whose rest is in the next fragment

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished message are held."""
        return len(self._buffer) if self._buffer is not None else 0

    @property
    def open(self) -> bool:
        """Whether a fragmented message has begun and not ended."""
        return self._buffer is not None

    def feed(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> Message | None:
        """The message that this frame completes; None for a fragment and for a (valid) control frame.

        Raises FrameFault: 1002 order, opcode, reserved bits, control frames; 1007 text; 1009 size.
        """
        if rsv and (rsv != _RSV1 or self._inflate is None or not 0 < opcode < 3):
            raise self._fault(1002, "reserved bits are set and no extension was negotiated")
        if opcode > 2:
            self._check_control(opcode, fin, len(payload))
            return None
        if opcode == 0:
            return self._continue(fin, payload)
        if self._buffer is not None:
            raise self._fault(1002, "a new message began inside a fragmented one")
        if len(payload) > self.max_bytes:
            raise self._too_big(len(payload))
        if not fin:
            self._buffer = bytearray()
            self._binary, self._packed = opcode == 2, rsv != 0
            return self._continue(False, payload)
        if rsv:
            assert self._inflate is not None
            payload = self._inflate(payload, self.max_bytes)
        if opcode == 1:
            check_text(payload)
            return payload, False
        return payload, True

    def _continue(self, fin: bool, payload: bytes) -> Message | None:
        buffer = self._buffer
        if buffer is None:
            raise self._fault(1002, "a continuation without a message to continue")
        total = len(buffer) + len(payload)
        if total > self.max_bytes:
            raise self._too_big(total)
        if not self._binary and not self._packed:
            self._check_piece(payload, fin)
        buffer += payload
        if not fin:
            return None
        self._buffer = None
        if not self._packed:
            return bytes(buffer), self._binary
        assert self._inflate is not None
        whole = self._inflate(buffer, self.max_bytes)
        if not self._binary:
            check_text(whole)
        return whole, self._binary

    def _check_piece(self, piece: bytes, final: bool) -> None:
        """UTF-8 across fragments: a character may be cut in two, a wrong one fails at once."""
        if not self._tail and piece.isascii():
            return
        piece = self._tail + piece
        try:
            _, used = utf_8_decode(piece, "strict", final)
        except UnicodeDecodeError:
            raise self._fault(1007, "text is not UTF-8") from None
        tail = piece[used:]
        if tail[:1] == b"\xed" and tail[1:2] > b"\x9f":  # half a surrogate, for whose end the codec would wait
            raise self._fault(1007, "text is not UTF-8")
        self._tail = tail

    def _check_control(self, opcode: int, fin: bool, size: int) -> None:
        if not 8 <= opcode <= 10:
            raise self._fault(1002, f"unknown opcode {opcode}")
        if not fin:
            raise self._fault(1002, "control frame is fragmented")
        if size > CONTROL_LIMIT_BYTES:
            raise self._fault(1002, "control frame longer than 125 bytes")

    def _too_big(self, size: int) -> FrameFault:
        return self._fault(1009, f"message of {size} bytes or more, at most {self.max_bytes} allowed")

    def _fault(self, code: int, reason: str) -> FrameFault:
        self._buffer, self._tail = None, b""
        return FrameFault(code, reason)
