"""permessage-deflate (RFC 7692): negotiation, and the compression and decompression of messages.

By default no side keeps its context between messages. A connection then holds no compressor and no window, a broadcast
is compressed once for all receivers, and a message that is dropped or reordered breaks no other. A kept context
compresses short, similar messages better, and costs each connection its windows.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from mycelia.errors import ConfigError
from mycelia.protocol.http.request import BadHandshake
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.ws.frames import FrameFault, header

__all__ = [
    "Agreement",
    "Compression",
    "DeflateSettings",
    "Deflater",
    "Inflater",
    "Negotiator",
    "Schedule",
    "negotiate",
    "parse_extensions",
]

_TAIL = b"\x00\x00\xff\xff"  # the end of every flush; omitted on the wire (RFC 7692 §7.2.1)
_STEP_BYTES = 64 * 1024
_BINARY = 0x82  # the first byte of a whole binary message
_WINDOW_BYTES = 32 * 1024
_NAME = "permessage-deflate"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_SERVER_BITS, _CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|\"((?:[^\"\\]|\\.)*)\"))?")
_OFFER = re.compile(rf"[ \t]*({_TOKEN})")
_NEXT = re.compile(r"[ \t]*(?:,[ \t,]*|$)")  # empty elements are ignored (RFC 9110 §5.6.1.2)
_MOST_FINAL_BLOCKS = 4
_BOUNDS = (
    ("server_bits", 9, 15),
    ("client_bits", 9, 15),
    ("level", 0, 9),
    ("memory_level", 1, 9),
    ("threshold_bytes", 0, 2**40),
)
_MOST_OFFERS = 16  # a handshake with more is rejected

_Half = TypeVar("_Half")
Offer = tuple[str, tuple[tuple[str, str | None], ...]]


@dataclass(frozen=True, slots=True)
class DeflateSettings:
    """The compression settings of a server. Raises ConfigError for a value that zlib does not support.

    Attributes:
        server_context: True if the server may keep its context between messages.
        client_context: True if the client may keep its context between messages.
        server_bits: The largest window of the server, as a power of two (9 to 15).
        client_bits: The largest window of the client, as a power of two (9 to 15).
        level: The compression level of zlib (0 to 9).
        memory_level: The memory level of zlib (1 to 9).
        threshold_bytes: Shorter messages are sent uncompressed.
    """

    server_context: bool = False
    client_context: bool = False
    server_bits: int = 15
    client_bits: int = 15
    level: int = 3
    memory_level: int = 8
    threshold_bytes: int = 1024

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                problem = f"expected a whole number from {low} to {high}, got {value!r}"
                raise ConfigError(f"websocket.per_message_deflate.{name}", problem)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of a negotiation. `response` is the value of Sec-WebSocket-Extensions in the 101 response."""

    server_context: bool
    client_context: bool
    server_bits: int
    client_bits: int
    response: str


def parse_extensions(lines: Sequence[str]) -> list[Offer]:
    """Return the extensions that a handshake offers (RFC 6455 §9.1). Raise BadHandshake for an invalid list."""
    offers: list[Offer] = []
    for line in lines:
        at = len(line) - len(line.lstrip(" \t,"))
        while at < len(line):
            name = _OFFER.match(line, at)
            if name is None:
                raise BadHandshake(400, "expected Sec-WebSocket-Extensions as a list of names with parameters")
            at, parameters = name.end(), []
            while parameter := _PARAMETER.match(line, at):
                key, value, quoted = parameter.groups()
                if quoted is not None:
                    value = re.sub(r"\\(.)", r"\1", quoted)
                    if re.fullmatch(_TOKEN, value) is None:
                        raise BadHandshake(400, "expected extension parameters that are tokens once unquoted")
                parameters.append((key, value))
                at = parameter.end()
            end = _NEXT.match(line, at)
            if end is None:
                raise BadHandshake(400, "expected Sec-WebSocket-Extensions as a list of names with parameters")
            at = end.end()
            offers.append((name[1], tuple(parameters)))
            if len(offers) > _MOST_OFFERS:
                raise BadHandshake(400, f"expected at most {_MOST_OFFERS} extensions")
    return offers


def negotiate(lines: Sequence[str], settings: DeflateSettings) -> Agreement | None:
    """Return the agreement on the first acceptable offer (RFC 7692 §5.1, §7.1), or None for no compression."""
    for name, parameters in parse_extensions(lines):
        if name == _NAME and (agreement := _agree(dict(parameters), len(parameters), settings)) is not None:
            return agreement
    return None


def _agree(offer: dict[str, str | None], count: int, settings: DeflateSettings) -> Agreement | None:
    if len(offer) != count or offer.keys() - {*_FLAGS, _SERVER_BITS, _CLIENT_BITS}:
        return None  # a duplicate or unknown parameter
    if any(offer.get(flag) is not None for flag in _FLAGS):
        return None  # a flag must not have a value
    server_bits, client_bits = settings.server_bits, 15
    if _SERVER_BITS in offer:
        asked = _bits(offer[_SERVER_BITS])
        if asked is None or asked == 8:  # zlib has no raw window of 256 bytes
            return None
        server_bits = min(server_bits, asked)
    if _CLIENT_BITS in offer:
        given = offer[_CLIENT_BITS]
        most = 15 if given is None else _bits(given)
        if most is None:
            return None
        client_bits = min(settings.client_bits, most)
    server_context = settings.server_context and _FLAGS[0] not in offer
    client_context = settings.client_context and _FLAGS[1] not in offer
    response = [_NAME]
    response += [] if server_context else [_FLAGS[0]]
    response += [] if client_context else [_FLAGS[1]]
    response += [f"{_SERVER_BITS}={server_bits}"] if _SERVER_BITS in offer or server_bits < 15 else []
    response += [f"{_CLIENT_BITS}={client_bits}"] if _CLIENT_BITS in offer and client_bits < 15 else []
    return Agreement(server_context, client_context, server_bits, client_bits, "; ".join(response))


def _bits(value: str | None) -> int | None:
    """Return a window size from 8 to 15 without leading zeros (RFC 7692 §7.1.2), or None."""
    return int(value) if value in ("8", "9", "10", "11", "12", "13", "14", "15") else None


class Deflater:
    """Compresses messages: for one connection if the server keeps its context, otherwise for any number of them."""

    __slots__ = ("_compress", "_flush", "_mode", "context", "threshold_bytes")

    def __init__(self, bits: int, context: bool, settings: DeflateSettings) -> None:
        made = zlib.compressobj(settings.level, zlib.DEFLATED, -bits, settings.memory_level)
        self._compress, self._flush = made.compress, made.flush
        self._mode = zlib.Z_SYNC_FLUSH if context else zlib.Z_FULL_FLUSH  # a full flush resets the context
        self.context, self.threshold_bytes = context, settings.threshold_bytes

    def deflate(self, payload: bytes) -> bytes:
        """Return the payload of the compressed message (RFC 7692 §7.2.1)."""
        if not payload:
            return b"\x00"
        return (self._compress(payload) + self._flush(self._mode))[:-4]

    def frame(self, payload: bytes, binary: bool) -> bytes:
        """Return a finished frame with a whole message, compressed if that makes it shorter (RFC 7692 §6.1)."""
        opcode = 2 if binary else 1
        if len(payload) >= self.threshold_bytes:
            packed = self.deflate(payload)
            if self.context or len(packed) < len(payload):
                return header(opcode, len(packed), rsv1=True) + packed
        return header(opcode, len(payload)) + payload

    def reframe(self, packet: bytes) -> bytes:
        """Return finished uncompressed frames, compressed with the context of this connection."""
        frames, at, end = [], 0, len(packet)
        while at < end:
            size, start = packet[at + 1], at + 2
            if size > 125:
                wide = 2 if size == 126 else 8
                size, start = int.from_bytes(packet[start : start + wide]), start + wide
            frames.append(self.frame(packet[start : start + size], packet[at] == _BINARY))
            at = start + size
        return frames[0] if len(frames) == 1 else b"".join(frames)


class Inflater:
    """Decompresses messages, and enforces the size limit while the output grows."""

    __slots__ = ("_bits", "_context", "_kept")

    def __init__(self, bits: int, context: bool) -> None:
        self._bits, self._context = bits, context
        self._kept = zlib.decompressobj(-bits) if context else None

    def inflate(self, payload: bytes | bytearray, most: int) -> bytes:
        """Return the decompressed message (RFC 7692 §7.2.2).

        Large inputs are inflated twice. The first pass only measures the output, so that a decompression bomb is
        rejected before its output is buffered beside the compressed form.

        Raises:
            FrameFault: The message has more than `most` bytes (1009), or is not valid deflate data (1007).
        """
        if len(payload) > most // 4:
            kept = self._kept and self._kept.copy()
            for _ in self._parts(payload, most):
                pass
            self._kept = kept
        parts = list(self._parts(payload, most))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _parts(self, payload: bytes | bytearray, most: int) -> Iterator[bytes]:
        inflater = self._kept or zlib.decompressobj(-self._bits)
        size = final_blocks = 0
        window = b""
        try:
            for rest in _pieces(payload):
                while rest:
                    part = inflater.decompress(rest, _STEP_BYTES)
                    size += len(part)
                    if size > most:
                        raise FrameFault(Close.MESSAGE_TOO_BIG, f"expected at most {most} bytes, got more")
                    yield part
                    window = (window + part)[-_WINDOW_BYTES:]
                    rest = inflater.unconsumed_tail
                    if inflater.eof:  # another block may follow a final block (RFC 7692 §7.2.3.5)
                        final_blocks += 1
                        if final_blocks > _MOST_FINAL_BLOCKS:
                            raise FrameFault(
                                Close.INVALID_DATA, f"expected at most {_MOST_FINAL_BLOCKS} final blocks in a message"
                            )
                        rest = inflater.unused_data
                        inflater = zlib.decompressobj(-self._bits, window)
                        if self._context:
                            self._kept = inflater
        except zlib.error:
            raise FrameFault(Close.INVALID_DATA, "expected a deflated message") from None


def _pieces(payload: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """Yield the payload in pieces, then the tail, because zlib copies the unused rest of its input on every call."""
    if len(payload) <= _STEP_BYTES:
        yield b"".join((payload, _TAIL))
        return
    for at in range(0, len(payload), _STEP_BYTES):
        yield payload[at : at + _STEP_BYTES]
    yield _TAIL


Schedule = Callable[[Callable[[], object]], Callable[[], object]]
"""Calls a callback when expensive work may run, and returns a function that cancels the call."""


class Compression(NamedTuple):
    """The compression of one connection.

    Attributes:
        inflate: Decompresses a message of at most so many bytes.
        deflater: Compresses messages.
        response: The value of Sec-WebSocket-Extensions in the 101 response.
        schedule: Schedules the decompression of large input; None to decompress at once.
    """

    inflate: Callable[[bytes | bytearray, int], bytes]
    deflater: Deflater
    response: str
    schedule: Schedule | None = None


class Negotiator:
    """Negotiates compression for one endpoint. Connections without a context share a deflater and an inflater."""

    __slots__ = ("_deflaters", "_inflaters", "_settings")

    def __init__(self, settings: DeflateSettings) -> None:
        self._settings = settings
        self._deflaters: dict[int, Deflater] = {}  # by window size
        self._inflaters: dict[int, Inflater] = {}

    def agree(self, lines: Sequence[str]) -> Compression | None:
        """Return the compression that a client's offers lead to, or None. Raise BadHandshake for an invalid offer."""
        agreement = negotiate(lines, self._settings)
        if agreement is None:
            return None
        make = partial(Deflater, settings=self._settings)
        deflater = _shared(self._deflaters, make, agreement.server_bits, agreement.server_context)
        inflater = _shared(self._inflaters, Inflater, agreement.client_bits, agreement.client_context)
        return Compression(inflater.inflate, deflater, agreement.response)


def _shared(pool: dict[int, _Half], make: Callable[[int, bool], _Half], bits: int, context: bool) -> _Half:
    """Return a new object for a connection that keeps its context, or else the shared one for that window."""
    if context:
        return make(bits, True)
    if bits not in pool:
        pool[bits] = make(bits, False)
    return pool[bits]
