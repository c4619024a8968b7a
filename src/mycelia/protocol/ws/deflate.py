"""permessage-deflate (RFC 7692): what both sides agree on, and messages in and out of their compressed form.

Unless configured otherwise neither side keeps its context between messages: then a connection holds no compressor and
no window, one message is compressed once for all who get it, and a message out of order or lost to a limit spoils no
other. Keeping it compresses short, similar messages better and costs each connection its windows.
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
    "Turns",
    "negotiate",
    "parse_extensions",
]

_TAIL = b"\x00\x00\xff\xff"  # of every flush; left out on the wire (RFC 7692 §7.2.1)
_STEP_BYTES = 64 * 1024
_BINARY = 0x82  # the first byte of a whole binary message
_WINDOW_BYTES = 32 * 1024
_NAME = "permessage-deflate"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_SERVER_BITS, _CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|\"((?:[^\"\\]|\\.)*)\"))?")
_OFFER = re.compile(rf"[ \t]*({_TOKEN})")
_NEXT = re.compile(r"[ \t]*(?:,[ \t,]*|$)")  # empty elements mean nothing (RFC 9110 §5.6.1.2)
_ENDS = 4
_BOUNDS = (
    ("server_bits", 9, 15),
    ("client_bits", 9, 15),
    ("level", 0, 9),
    ("memory_level", 1, 9),
    ("threshold_bytes", 0, 2**40),
)
_OFFERS = 16  # more in one handshake are not read

_Half = TypeVar("_Half")
Offer = tuple[str, tuple[tuple[str, str | None], ...]]


@dataclass(frozen=True, slots=True)
class DeflateSettings:
    """How a server compresses; ConfigError for what zlib cannot do.

    `server_context` and `client_context` say which side may keep its context; `server_bits` and `client_bits` are the
    largest windows, as powers of two (9 to 15); shorter messages than `threshold_bytes` go out as they are.
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
    """What one handshake agreed on; `response` is what the 101 says of it."""

    server_context: bool
    client_context: bool
    server_bits: int
    client_bits: int
    response: str


def parse_extensions(lines: Sequence[str]) -> list[Offer]:
    """The extensions that a handshake offers, in order (RFC 6455 §9.1). Raises BadHandshake for what is no list."""
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
            if len(offers) > _OFFERS:
                raise BadHandshake(400, f"expected at most {_OFFERS} extensions")
    return offers


def negotiate(lines: Sequence[str], settings: DeflateSettings) -> Agreement | None:
    """The answer to the first offer that can be kept (RFC 7692 §5.1, §7.1); None to go on without compression."""
    for name, parameters in parse_extensions(lines):
        if name == _NAME and (agreement := _agree(dict(parameters), len(parameters), settings)) is not None:
            return agreement
    return None


def _agree(offer: dict[str, str | None], count: int, settings: DeflateSettings) -> Agreement | None:
    if len(offer) != count or offer.keys() - {*_FLAGS, _SERVER_BITS, _CLIENT_BITS}:
        return None  # a parameter that comes twice, or that nobody knows
    if any(offer.get(flag) is not None for flag in _FLAGS):
        return None  # which have no value
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
    """8 to 15, without zeros in front (RFC 7692 §7.1.2)."""
    return int(value) if value in ("8", "9", "10", "11", "12", "13", "14", "15") else None


class Deflater:
    """Compresses messages for one connection whose server keeps its context, or for any number whose does not."""

    __slots__ = ("_compress", "_flush", "_mode", "context", "threshold_bytes")

    def __init__(self, bits: int, context: bool, settings: DeflateSettings) -> None:
        made = zlib.compressobj(settings.level, zlib.DEFLATED, -bits, settings.memory_level)
        self._compress, self._flush = made.compress, made.flush
        self._mode = zlib.Z_SYNC_FLUSH if context else zlib.Z_FULL_FLUSH  # which forgets what came before
        self.context, self.threshold_bytes = context, settings.threshold_bytes

    def deflate(self, payload: bytes) -> bytes:
        """The payload of the compressed message (RFC 7692 §7.2.1)."""
        if not payload:
            return b"\x00"
        return (self._compress(payload) + self._flush(self._mode))[:-4]

    def frame(self, payload: bytes, binary: bool) -> bytes:
        """A finished frame for a whole message, compressed where that is worth it (RFC 7692 §6.1)."""
        opcode = 2 if binary else 1
        if len(payload) >= self.threshold_bytes:
            packed = self.deflate(payload)
            if self.context or len(packed) < len(payload):
                return header(opcode, len(packed), rsv1=True) + packed
        return header(opcode, len(payload)) + payload

    def reframe(self, packet: bytes) -> bytes:
        """Finished frames of whole messages, one after another, as the one connection gets them."""
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
    """Decompresses the messages of one connection, each bounded while it grows."""

    __slots__ = ("_bits", "_context", "_kept")

    def __init__(self, bits: int, context: bool) -> None:
        self._bits, self._context = bits, context
        self._kept = zlib.decompressobj(-bits) if context else None

    def inflate(self, payload: bytes | bytearray, most: int) -> bytes:
        """The message (RFC 7692 §7.2.2). Raises FrameFault: 1009 above `most` bytes, 1007 for what is not deflated.

        What is large already is inflated twice, the first time to see how large it becomes: the compressed form, and as
        much as is allowed of a bomb, are never held together.
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
        size = ends = 0
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
                    if inflater.eof:  # a block that says it is the last need not be (RFC 7692 §7.2.3.5)
                        ends += 1
                        if ends > _ENDS:
                            raise FrameFault(Close.INVALID_DATA, f"expected at most {_ENDS} last blocks in a message")
                        rest = inflater.unused_data
                        inflater = zlib.decompressobj(-self._bits, window)
                        if self._context:
                            self._kept = inflater
        except zlib.error:
            raise FrameFault(Close.INVALID_DATA, "expected a deflated message") from None


def _pieces(payload: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """The payload and its tail; zlib hands back what of a piece it has not used yet, again and again."""
    if len(payload) <= _STEP_BYTES:
        yield b"".join((payload, _TAIL))
        return
    for at in range(0, len(payload), _STEP_BYTES):
        yield payload[at : at + _STEP_BYTES]
    yield _TAIL


Turns = Callable[[Callable[[], object]], Callable[[], object]]
"""Calls back when there is time for what takes long; what it returns takes that back."""


class Compression(NamedTuple):
    """What compresses for a connection and back, what the 101 says of it, and who says when much may be inflated."""

    inflate: Callable[[bytes | bytearray, int], bytes]
    deflater: Deflater
    response: str
    turns: Turns | None = None


class Negotiator:
    """Answers the offers of all clients of one endpoint; where nothing is kept they share what compresses for them."""

    __slots__ = ("_deflaters", "_inflaters", "_settings")

    def __init__(self, settings: DeflateSettings) -> None:
        self._settings = settings
        self._deflaters: dict[int, Deflater] = {}  # one for each size of window
        self._inflaters: dict[int, Inflater] = {}

    def agree(self, lines: Sequence[str]) -> Compression | None:
        """The answer to what a client offers; None for no compression. BadHandshake for what is no offer at all."""
        agreement = negotiate(lines, self._settings)
        if agreement is None:
            return None
        make = partial(Deflater, settings=self._settings)
        deflater = _shared(self._deflaters, make, agreement.server_bits, agreement.server_context)
        inflater = _shared(self._inflaters, Inflater, agreement.client_bits, agreement.client_context)
        return Compression(inflater.inflate, deflater, agreement.response)


def _shared(pool: dict[int, _Half], make: Callable[[int, bool], _Half], bits: int, context: bool) -> _Half:
    """A half of its own for who keeps a context; for all others the one with that window."""
    if context:
        return make(bits, True)
    if bits not in pool:
        pool[bits] = make(bits, False)
    return pool[bits]
