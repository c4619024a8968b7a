"""Engine.IO packets: parsed strictly, and written for both transports.

A WebSocket message is one packet, and binary data is sent as it is. An HTTP body holds several packets with 0x1E
between them, and binary data is base64 with a `b` in front.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from enum import IntEnum
from typing import Final, NamedTuple

from mycelia.errors import MyceliaError
from mycelia.protocol.engineio.requests import ErrorResponse

__all__ = [
    "SEPARATOR",
    "Packet",
    "PacketFault",
    "PacketKind",
    "read_frame",
    "read_payload",
    "write_frame",
    "write_part",
]

SEPARATOR: Final = b"\x1e"


class PacketKind(IntEnum):
    """The kinds of packet; the number is the first character of a packet in text form."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


_KINDS: Final = {str(int(kind)).encode(): kind for kind in PacketKind}
_DIGITS: Final = {kind: digit for digit, kind in _KINDS.items()}
_MESSAGE: Final = PacketKind.MESSAGE


class Packet(NamedTuple):
    """One packet. Only messages can be binary."""

    kind: PacketKind
    payload: bytes = b""
    binary: bool = False


class PacketFault(MyceliaError):
    """Raised for an invalid packet, and for a packet that is not allowed now. It ends the session of the peer.

    Attributes:
        close_code: The code for the Close frame of a WebSocket.
        reason: What was expected and what came.
    """

    blame = "remote"

    def __init__(self, reason: str, close_code: int = 1002) -> None:
        self.close_code, self.reason = close_code, reason
        super().__init__(f"{close_code}: {reason}")

    @property
    def error_response(self) -> ErrorResponse:
        """The response to the HTTP request that brought the packet."""
        return ErrorResponse.TOO_LARGE if self.close_code == 1009 else ErrorResponse.BAD_REQUEST


# -- packets in a WebSocket --------------------------------------------------------------------------------


def read_frame(payload: bytes, binary: bool) -> Packet:
    """Return the packet in one WebSocket message, or raise PacketFault. The engine has checked that text is UTF-8."""
    if binary:
        return Packet(_MESSAGE, payload, True)
    kind = _KINDS.get(payload[:1])
    if kind is None:
        raise PacketFault(f"expected a packet that begins with a digit from 0 to 6, got {payload[:1]!r}")
    return Packet(kind, payload[1:])


def write_frame(packet: Packet) -> tuple[bytes, bool]:
    """Return the payload of the WebSocket message for a packet, and True if the message is binary."""
    return (packet.payload, True) if packet.binary else (_DIGITS[packet.kind] + packet.payload, False)


# -- packets in an HTTP body -------------------------------------------------------------------------------


def read_payload(body: bytes, max_bytes: int, max_packets: int) -> list[Packet]:
    """Return all packets in the body of a POST, at least one. Raises PacketFault.

    Both limits are checked before the body is split, so that a hostile body costs little.

    Args:
        body: The request body.
        max_bytes: The largest body in bytes.
        max_packets: The largest number of packets.
    """
    if len(body) > max_bytes:
        raise PacketFault(f"expected a body of at most {max_bytes} bytes, got {len(body)}", 1009)
    number = body.count(SEPARATOR) + 1
    if number > max_packets:
        raise PacketFault(f"expected at most {max_packets} packets in one body, got {number}", 1009)
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise PacketFault("expected a body in UTF-8", 1007) from None
    return [_read_part(each) for each in body.split(SEPARATOR)]


def _read_part(part: bytes) -> Packet:
    if part[:1] != b"b":
        return read_frame(part, False)
    try:
        return Packet(_MESSAGE, a2b_base64(part[1:], strict_mode=True), True)
    except Base64Error as error:
        raise PacketFault(f"expected base64 after the `b` of a binary packet: {error}") from None


def write_part(packet: Packet) -> bytes:
    """Return a packet in the form for an HTTP body. Raises ValueError if the separator 0x1E is in text."""
    if packet.binary:
        return b"b" + b2a_base64(packet.payload, newline=False)
    if SEPARATOR in packet.payload:
        raise ValueError("expected a string without the character 0x1E, which separates packets")
    return _DIGITS[packet.kind] + packet.payload
