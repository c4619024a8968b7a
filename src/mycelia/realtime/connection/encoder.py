"""How one kind of peer is written to: a codec, and whether its engine takes finished frames.

What is sent to a peer is a packet: a finished RFC 6455 frame where the engine takes frames, the payload
elsewhere. All peers of one dialect take the same packet, so a broadcast makes one per dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mycelia.errors import MessageTooLarge
from mycelia.protocol.wire.codec import CanSkim, Codec
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Request
from mycelia.protocol.ws.deflate import Deflater
from mycelia.protocol.ws.frames import binary_header, text_header
from mycelia.transports.seam import CanFrame, Transport

__all__ = ["LARGE_BYTES", "Dialect"]

LARGE_BYTES = 16 * 1024  # longer messages are decoded in turns of their own
_SHORT = 1024  # payloads below this get their header from a table


class Dialect:
    """One codec over one kind of transport; made once per pair by the runtime, compared by identity."""

    __slots__ = (
        "_encode", "_header", "_headers", "_short", "_skimmer", "binary", "codec", "crowded", "decode", "deflater",
        "framed", "most_bytes", "most_values", "oversize",
    )  # fmt: skip

    def __init__(
        self,
        codec: Codec,
        framed: bool,
        most_bytes: int = 0,
        most_values: int = 0,
        deflater: Deflater | None = None,
    ) -> None:
        self.codec, self.framed = codec, framed
        self.deflater = deflater  # which keeps nothing of one message for the next, so that all may share packets
        self.most_bytes = most_bytes  # of one message out, never less than what is short; 0 for no limit
        self.most_values = most_values  # of one message in, never less than a small one can hold; 0 for no limit
        self.oversize = self.crowded = 0  # how many had more
        self._skimmer = codec if isinstance(codec, CanSkim) else None
        self.binary, self.decode, self._encode = codec.binary, codec.decode, codec.encode
        self._header = binary_header if codec.binary else text_header
        self._headers = tuple(self._header(length) if framed else b"" for length in range(_SHORT))
        self._short = _SHORT if deflater is None else min(_SHORT, deflater.threshold_bytes)

    def decode_large(self, payload: bytes) -> Envelope:
        """The envelope in a message of any size; raises ProtocolFault, before decoding what has too many values."""
        self.check_count(payload)
        return self.decode(payload)

    def decode_value(self, payload: bytes) -> object:
        """The plain value in a message of any size; raises ProtocolFault like `decode_large`."""
        self.check_count(payload)
        return self.codec.decode_value(payload)

    def skim(self, payload: bytes) -> Envelope:
        """The envelope of what is not going to be handled; a large one without its contents. Raises nothing."""
        if len(payload) > LARGE_BYTES and self._skimmer is not None:
            return self._skimmer.skim(payload)
        try:
            return self.decode(payload)
        except ProtocolFault as fault:
            return Request(None, None, fault.correlation_id)

    def check_count(self, payload: bytes) -> None:
        """Raises ProtocolFault, without a correlation id, for a message with too many values."""
        most, skimmer = self.most_values, self._skimmer
        if most and skimmer is not None and len(payload) > LARGE_BYTES and skimmer.crowded(payload, most):
            self.crowded += 1
            problem = f"expected a message of at most {most} values, got one with more"
            raise ProtocolFault(Code.INVALID_MESSAGE, problem, {"limit": most})

    def pack(self, envelope: Envelope) -> bytes:
        """The packet of an envelope. Raises InvalidMessage when it cannot be encoded, or is too large."""
        payload = self._encode(envelope)
        length = len(payload)
        return self._headers[length] + payload if length < self._short else self.wrap(payload)

    def pack_value(self, value: Any) -> bytes:
        """The packet of a mapping that a transform or the application made."""
        return self.wrap(self.codec.encode_value(value))

    def check_size(self, payload: bytes) -> None:
        """Raises MessageTooLarge when an encoded message is larger than any may be."""
        if 0 < self.most_bytes < len(payload):
            self.oversize += 1
            raise MessageTooLarge(len(payload), self.most_bytes)

    def wrap(self, payload: bytes) -> bytes:
        """The packet of an encoded message."""
        self.check_size(payload)
        if self.deflater is not None:
            return self.deflater.frame(payload, self.binary)
        return self._header(len(payload)) + payload if self.framed else payload

    def writer(self, transport: Transport) -> Callable[[bytes], None]:
        """What writes a packet of this dialect to `transport`."""
        if self.framed:
            write = cast(CanFrame, transport).send_frame  # asking an instance for a Protocol takes 10 µs
            compression = transport.compression
            if compression is not None and compression.deflater.context:
                reframe = compression.deflater.reframe  # here, for what is dropped before must not be in the context
                return lambda packet: write(reframe(packet))
            return write
        send, binary = transport.send, self.codec.binary
        return lambda packet: send(packet, binary)
