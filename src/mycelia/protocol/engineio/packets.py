"""Engine.IO packets, fourth version of the protocol: read strictly, written for both transports.

In a WebSocket every packet is a message of its own, and binary data is sent as it is. Over HTTP several packets share a
body, with 0x1E between them, and binary data is base64 behind a `b`. What is no packet is a PacketFault; what is no
acceptable request is a Refusal, with the status and the code that clients know.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from msgspec import json

from mycelia.errors import MyceliaError

__all__ = [
    "SEPARATOR",
    "TRANSPORTS",
    "VERSION",
    "Packet",
    "PacketFault",
    "PacketKind",
    "Refusal",
    "Terms",
    "Waiting",
    "judge",
    "part",
    "read_frame",
    "read_payload",
    "write_frame",
]

VERSION: Final = "4"
SEPARATOR: Final = b"\x1e"
TRANSPORTS: Final = ("polling", "websocket")


class PacketKind(IntEnum):
    """The kinds of packet; the number is the first character of a packet in text."""

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
_COST: Final = 64  # bytes that a waiting packet takes besides its payload


class Packet(NamedTuple):
    """One packet; only messages are binary."""

    kind: PacketKind
    payload: bytes = b""
    binary: bool = False


class PacketFault(MyceliaError):
    """The peer sent what is no packet, or none that it may send now; its session ends.

    `close_code` is for the Close of its WebSocket; over HTTP the answer has the status of `refusal`.
    """

    blame = "remote"

    def __init__(self, reason: str, close_code: int = 1002) -> None:
        self.close_code, self.reason = close_code, reason
        super().__init__(f"{close_code}: {reason}")

    @property
    def refusal(self) -> Refusal:
        return Refusal.TOO_LARGE if self.close_code == 1009 else Refusal.BAD_REQUEST


class Refusal(Enum):
    """Why a request is refused: the HTTP status, and what clients of the protocol read in the body."""

    UNKNOWN_TRANSPORT = (400, 0, "Transport unknown")
    UNKNOWN_SESSION = (400, 1, "Session ID unknown")
    BAD_METHOD = (400, 2, "Bad handshake method")
    BAD_REQUEST = (400, 3, "Bad request")
    FORBIDDEN = (403, 4, "Forbidden")
    UNSUPPORTED_VERSION = (400, 5, "Unsupported protocol version")
    TOO_LARGE = (413, 3, "Payload too large")

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> bytes:
        """The JSON text of the answer."""
        return b'{"code":%d,"message":"%b"}' % (self.code, self.message.encode())


def judge(method: str, query: Mapping[str, str], upgrade: bool, known: bool) -> Refusal | None:
    """Why a request cannot be served; None when it can.

    `upgrade` says whether it asks for a WebSocket, `known` whether there is a session of the `sid` in its query. What
    the session itself thinks of the request is for `Session` to say.
    """
    transport = query.get("transport")
    if transport not in TRANSPORTS:
        return Refusal.UNKNOWN_TRANSPORT
    if query.get("EIO") != VERSION:
        return Refusal.UNSUPPORTED_VERSION
    if "sid" in query:
        if not known:
            return Refusal.UNKNOWN_SESSION
        if method not in ("GET", "POST"):
            return Refusal.BAD_REQUEST
    elif method != "GET":
        return Refusal.BAD_METHOD
    if upgrade is not (transport == "websocket") or (upgrade and method != "GET"):
        return Refusal.BAD_REQUEST
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is told in its handshake, and its bounds. Durations are seconds.

    `response_packets` is 16 because the Python clients throw away what has more.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload_bytes: int = 1_000_000
    upgrades: bool = True
    upgrade_timeout: float = 10.0
    close_timeout: float = 2.0
    response_packets: int = 16
    request_packets: int = 4096
    buffer_bytes: int = 1024 * 1024

    def handshake(self, sid: str, upgrades: bool) -> bytes:
        """The payload of the open packet. Intervals are true milliseconds, also those below a second."""
        return json.encode(
            {
                "sid": sid,
                "upgrades": ["websocket"] if upgrades and self.upgrades else [],
                "pingInterval": _milliseconds(self.ping_interval),
                "pingTimeout": _milliseconds(self.ping_timeout),
                "maxPayload": self.max_payload_bytes,
            }
        )


def _milliseconds(seconds: float) -> int | float:
    exact = round(seconds * 1000, 3)
    return int(exact) if exact.is_integer() else exact


# -- packets in a WebSocket --------------------------------------------------------------------------------


def read_frame(payload: bytes, binary: bool) -> Packet:
    """The packet in one WebSocket message, whose text the engine has found to be UTF-8. Raises PacketFault."""
    if binary:
        return Packet(_MESSAGE, payload, True)
    kind = _KINDS.get(payload[:1])
    if kind is None:
        raise PacketFault(f"expected a packet that begins with a digit from 0 to 6, got {payload[:1]!r}")
    return Packet(kind, payload[1:])


def write_frame(packet: Packet) -> tuple[bytes, bool]:
    """The payload of the WebSocket message for a packet, and whether it is binary."""
    return (packet.payload, True) if packet.binary else (_DIGITS[packet.kind] + packet.payload, False)


# -- packets in an HTTP body -------------------------------------------------------------------------------


def read_payload(body: bytes, max_bytes: int, max_packets: int) -> list[Packet]:
    """All packets in the body of a POST, at least one. Raises PacketFault, before anything is split."""
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


def _read_part(text: bytes) -> Packet:
    if text[:1] != b"b":
        return read_frame(text, False)
    try:
        return Packet(_MESSAGE, a2b_base64(text[1:], strict_mode=True), True)
    except Base64Error as error:
        raise PacketFault(f"expected base64 behind the `b` of a binary packet: {error}") from None


def part(packet: Packet) -> bytes:
    """A packet as it stands in an HTTP body; ValueError for a text that another packet would seem to begin in."""
    if packet.binary:
        return b"b" + b2a_base64(packet.payload, newline=False)
    if SEPARATOR in packet.payload:
        raise ValueError("expected a text without the character 0x1E, which separates packets")
    return _DIGITS[packet.kind] + packet.payload


class Waiting:
    """Packets that wait for the next response; `size_bytes` is what they take in memory."""

    __slots__ = ("_packets", "size_bytes")

    def __init__(self) -> None:
        self._packets: deque[Packet] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def fits(self, payload: bytes, limit_bytes: int) -> bool:
        """Whether a packet with this payload may join; a single one may be larger than the limit."""
        return not self._packets or self.size_bytes + len(payload) + _COST <= limit_bytes

    def put(self, packet: Packet, *, first: bool = False) -> None:
        """Adds a packet at the end, or before all others."""
        (self._packets.appendleft if first else self._packets.append)(packet)
        self.size_bytes += len(packet.payload) + _COST

    def take(self) -> Iterator[Packet]:
        """All packets, in order; what is not asked for stays."""
        while self._packets:
            packet = self._packets.popleft()
            self.size_bytes -= len(packet.payload) + _COST
            yield packet

    def response(self, max_packets: int, max_bytes: int) -> bytes:
        """The body of a response: as many packets as may be in one, at least one; empty when nothing waits."""
        parts: list[bytes] = []
        size = 0
        while self._packets and len(parts) < max_packets:
            text = part(self._packets[0])
            if parts and size + len(text) > max_bytes:
                break
            size += len(text) + 1
            parts.append(text)
            self.size_bytes -= len(self._packets.popleft().payload) + _COST
        return SEPARATOR.join(parts)
