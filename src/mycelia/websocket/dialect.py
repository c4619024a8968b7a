"""How one kind of peer is written to: a codec, and whether its engine takes finished frames.

What is sent to a peer is a packet: a finished RFC 6455 frame where the engine takes frames, the payload
elsewhere. All peers of one dialect take the same packet, so a broadcast makes one per dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mycelia.errors import MessageTooLarge
from mycelia.protocol.codec import Codec
from mycelia.protocol.envelope import Envelope
from mycelia.protocol.frames import binary_header, text_header
from mycelia.websocket.engines.base import CanFrame, Transport

__all__ = ["Dialect"]

_SHORT = 1024  # payloads below this get their header from a table


class Dialect:
    """One codec over one kind of transport; made once per pair by the runtime, compared by identity."""

    __slots__ = ("_encode", "_header", "_headers", "binary", "codec", "decode", "framed", "most_bytes", "oversize")

    def __init__(self, codec: Codec, framed: bool, most_bytes: int = 0) -> None:
        self.codec, self.framed = codec, framed
        self.most_bytes = most_bytes  # of one message, never less than what is short; 0 for no limit
        self.oversize = 0  # how many were larger
        self.binary, self.decode, self._encode = codec.binary, codec.decode, codec.encode
        self._header = binary_header if codec.binary else text_header
        self._headers = tuple(self._header(length) if framed else b"" for length in range(_SHORT))

    def pack(self, envelope: Envelope) -> bytes:
        """The packet of an envelope. Raises InvalidMessage when it cannot be encoded, or is too large."""
        payload = self._encode(envelope)
        length = len(payload)
        return self._headers[length] + payload if length < _SHORT else self._long(payload)

    def pack_value(self, value: Any) -> bytes:
        """The packet of a mapping that a transform or the application made."""
        return self._long(self.codec.encode_value(value))

    def writer(self, transport: Transport) -> Callable[[bytes], None]:
        """What writes a packet of this dialect to `transport`."""
        if self.framed:
            return cast(CanFrame, transport).send_frame  # asking an instance for a Protocol takes 10 µs
        return lambda packet: transport.send(packet, self.codec.binary)

    def _long(self, payload: bytes) -> bytes:
        if 0 < self.most_bytes < len(payload):
            self.oversize += 1
            raise MessageTooLarge(len(payload), self.most_bytes)
        return self._header(len(payload)) + payload if self.framed else payload
