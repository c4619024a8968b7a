"""Assembly of frames into messages, with the checks that WebSocket libraries leave to their users.

It checks the order of fragments, reserved bits, UTF-8 and the size of a whole message, and it decompresses. Every
engine uses it, so a peer gets the same close code (RFC 6455 §7.4.1) whatever library parses its frames.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable

from mycelia.protocol.wire.codes import CloseFault, parse_close
from mycelia.protocol.ws.frames import CONTROL_LIMIT_BYTES, FrameFault

__all__ = ["Assembler", "FrameFault", "Inflate", "Message", "check_close", "check_text"]

Message = tuple[bytes, bool]  # payload, and True for a binary message
Inflate = Callable[[bytes | bytearray, int], bytes]
"""Decompresses a message. Raises FrameFault if the result has more than so many bytes."""

_RSV1 = 4


def check_text(payload: bytes) -> None:
    """Raise FrameFault (1007) unless a whole text message is UTF-8 (RFC 6455 §8.1)."""
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise FrameFault(1007, "text is not UTF-8") from None


def check_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a Close frame, 1005 if it is empty (RFC 6455 §7.1.5). Raise FrameFault if invalid."""
    try:
        return parse_close(payload)
    except CloseFault as fault:
        raise FrameFault(int(fault.code), fault.reason) from fault


class Assembler:
    """Assembles the messages of one peer from its frames. Raises FrameFault at the first invalid frame.

    Feed it frames of all kinds in their order. Between messages it holds no buffer, and a message in one frame never
    needs one. Do not feed an assembler after it has raised.
    """

    __slots__ = ("_binary", "_buffer", "_compressed", "_inflate", "_tail", "max_bytes")

    def __init__(self, max_bytes: int, inflate: Inflate | None = None) -> None:
        self.max_bytes = max_bytes
        self._inflate = inflate
        self._compressed = False  # the fragmented message is compressed
        self._buffer: bytearray | None = None
        self._binary = False
        self._tail = b""  # the beginning of a character that continues in the next fragment

    @property
    def buffered(self) -> int:
        """The number of buffered bytes of an incomplete message."""
        return len(self._buffer) if self._buffer is not None else 0

    @property
    def open(self) -> bool:
        """True between the first and the last fragment of a message."""
        return self._buffer is not None

    def feed(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> Message | None:
        """Return the message that this frame completes, or None after a fragment or a valid control frame.

        Raises:
            FrameFault: The opcode, order, reserved bits or a control frame are invalid (1002), a text message is not
                UTF-8 (1007), or the message is too large (1009).
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
            self._binary, self._compressed = opcode == 2, rsv != 0
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
        if not self._binary and not self._compressed:
            self._check_piece(payload, fin)
        buffer += payload
        if not fin:
            return None
        self._buffer = None
        if not self._compressed:
            return bytes(buffer), self._binary
        assert self._inflate is not None
        whole = self._inflate(buffer, self.max_bytes)
        if not self._binary:
            check_text(whole)
        return whole, self._binary

    def _check_piece(self, piece: bytes, final: bool) -> None:
        """Check UTF-8 across fragments. A fragment may end inside a character, but an invalid one fails at once."""
        if not self._tail and piece.isascii():
            return
        piece = self._tail + piece
        try:
            _, used = utf_8_decode(piece, "strict", final)
        except UnicodeDecodeError:
            raise self._fault(1007, "text is not UTF-8") from None
        tail = piece[used:]
        if tail[:1] == b"\xed" and tail[1:2] > b"\x9f":  # half a surrogate; the codec would wait for the rest
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
