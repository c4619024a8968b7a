"""Encoders: a codec, combined with the form in which an engine takes messages.

An encoder turns a message into a packet. A packet is a finished RFC 6455 frame for engines that take frames, and the
encoded payload for all others. All peers of one encoder take the same packet, so a broadcast makes one packet for each
encoder in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mycelia.errors import MessageTooLarge
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codec import CanSkim, Codec
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Request, from_mapping
from mycelia.protocol.ws.deflate import Compression, Deflater
from mycelia.protocol.ws.frames import binary_header, text_header
from mycelia.transports.seam import CanFrame, Transport

__all__ = ["LARGE_BYTES", "Encoder", "Encoders"]

LARGE_BYTES = 16 * 1024  # the fair scheduler decides when a longer message is decoded
_SHORT = 1024  # shorter payloads take their frame header from a table


class Encoder:
    """One codec over one kind of transport. `Encoders` makes one for each pair; encoders are compared by identity.

    Args:
        codec: Encodes and decodes the messages.
        framed: True if the engine takes finished frames.
        counters: Counts messages that exceed a limit.
        max_bytes: The largest message that may be sent, in bytes; 0 for no limit.
        max_values: The most values that a received message may hold; 0 for no limit.
        deflater: Compresses messages without keeping context, so that all peers can share the packets.
    """

    __slots__ = (
        "_counters", "_encode", "_header", "_headers", "_max_bytes", "_max_values", "_peeker", "_short", "binary",
        "codec", "decode", "deflater", "framed",
    )  # fmt: skip

    def __init__(
        self,
        codec: Codec,
        framed: bool,
        counters: EventCounters,
        *,
        max_bytes: int = 0,
        max_values: int = 0,
        deflater: Deflater | None = None,
    ) -> None:
        self.codec, self.framed, self.deflater = codec, framed, deflater
        self._counters, self._max_bytes, self._max_values = counters, max_bytes, max_values
        self._peeker = codec if isinstance(codec, CanSkim) else None
        self.binary, self.decode, self._encode = codec.binary, codec.decode, codec.encode
        self._header = binary_header if codec.binary else text_header
        self._headers = tuple(self._header(length) if framed else b"" for length in range(_SHORT))
        self._short = _SHORT if deflater is None else min(_SHORT, deflater.threshold_bytes)

    # -- received messages ---------------------------------------------------------------------------

    def decode_whole(self, payload: bytes) -> tuple[Envelope, object]:
        """Decode a message once; return its envelope and the value with every key that the client sent.

        Raises:
            ProtocolFault: The message is not valid.
        """
        value = self.codec.decode_value(payload)
        return from_mapping(value), value

    def peek(self, payload: bytes) -> Envelope:
        """Return the envelope of a message that will not be handled. Never raises.

        The body or data of a large message is skipped. An invalid message gives an empty `Request`.
        """
        if len(payload) > LARGE_BYTES and self._peeker is not None:
            return self._peeker.skim(payload)
        try:
            return self.decode(payload)
        except ProtocolFault as fault:
            return Request(None, None, fault.correlation_id)

    def check_count(self, payload: bytes) -> None:
        """Raise ProtocolFault, without a correlation id, if a message holds too many values."""
        most, peeker = self._max_values, self._peeker
        if most and peeker is not None and len(payload) > LARGE_BYTES and peeker.crowded(payload, most):
            self._counters.add(Counter.MESSAGE_VALUES)
            problem = f"expected a message of at most {most} values, got more"
            raise ProtocolFault(Code.INVALID_MESSAGE, problem, {"limit": most})

    # -- sent messages -------------------------------------------------------------------------------

    def pack(self, envelope: Envelope) -> bytes:
        """Return the packet of an envelope.

        Raises:
            InvalidMessage: The envelope cannot be encoded.
            MessageTooLarge: The encoded envelope exceeds `max_bytes`.
        """
        payload = self._encode(envelope)
        length = len(payload)
        return self._headers[length] + payload if length < self._short else self.wrap(payload)

    def pack_value(self, value: Any) -> bytes:
        """Return the packet of a mapping that a transform or the application made. Raises like `pack`."""
        return self.wrap(self.codec.encode_value(value))

    def check_size(self, payload: bytes) -> None:
        """Raise MessageTooLarge if an encoded message exceeds `max_bytes`."""
        if 0 < self._max_bytes < len(payload):
            self._counters.add(Counter.OUTBOUND_BYTES)
            raise MessageTooLarge(len(payload), self._max_bytes)

    def wrap(self, payload: bytes) -> bytes:
        """Return the packet of an encoded message. Raises MessageTooLarge like `check_size`."""
        self.check_size(payload)
        if self.deflater is not None:
            return self.deflater.frame(payload, self.binary)
        return self._header(len(payload)) + payload if self.framed else payload

    def writer(self, transport: Transport) -> Callable[[bytes], None]:
        """Return the function that writes a packet of this encoder to `transport`."""
        if self.framed:
            write = cast(CanFrame, transport).send_frame  # isinstance with a Protocol takes 10 µs
            compression = transport.compression
            if compression is not None and compression.deflater.context:
                # Compress as late as possible: a packet that the send queue drops must not enter the context.
                reframe = compression.deflater.reframe
                return lambda packet: write(reframe(packet))
            return write
        send, binary = transport.send, self.codec.binary
        return lambda packet: send(packet, binary)


class Encoders:
    """Makes and keeps the encoders of one subsystem."""

    __slots__ = ("_counters", "_made", "_max_bytes", "_max_values")

    def __init__(self, counters: EventCounters, max_bytes: int, max_values: int) -> None:
        self._counters, self._max_bytes, self._max_values = counters, max_bytes, max_values
        self._made: dict[tuple[str, bool, Deflater | None], Encoder] = {}

    def get(self, codec: Codec, framed: bool, compression: Compression | None = None) -> Encoder:
        """Return the encoder of a codec for engines that take frames or for those that do not.

        Peers that negotiated compression without context have an encoder of their own.
        """
        deflater = None if compression is None or compression.deflater.context else compression.deflater
        key = codec.name, framed, deflater
        if key not in self._made:
            self._made[key] = Encoder(
                codec, framed, self._counters, max_bytes=self._max_bytes, max_values=self._max_values, deflater=deflater
            )
        return self._made[key]
