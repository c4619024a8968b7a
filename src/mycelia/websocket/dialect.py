"""How one kind of peer is written to: a codec, and whether its engine takes finished frames.

What is sent to a peer is a packet: a finished RFC 6455 frame where the engine takes frames, the payload
elsewhere. All peers of one dialect take the same packet, so a broadcast makes one per dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mycelia.protocol.codec import Codec
from mycelia.protocol.envelope import Envelope
from mycelia.protocol.frames import frame
from mycelia.websocket.engines.base import CanFrame, Transport

__all__ = ["Dialect"]


class Dialect:
    """One codec over one kind of transport; made once per pair by the runtime, compared by identity."""

    __slots__ = ("_binary", "codec", "framed")

    def __init__(self, codec: Codec, framed: bool) -> None:
        self.codec, self.framed = codec, framed
        self._binary = codec.binary

    def pack(self, envelope: Envelope) -> bytes:
        """The packet of an envelope. Raises InvalidMessage when it cannot be encoded."""
        payload = self.codec.encode(envelope)
        return frame(payload, self._binary) if self.framed else payload

    def pack_value(self, value: Any) -> bytes:
        """The packet of a mapping that a transform or the application made."""
        payload = self.codec.encode_value(value)
        return frame(payload, self._binary) if self.framed else payload

    def writer(self, transport: Transport) -> Callable[[bytes], None]:
        """What writes a packet of this dialect to `transport`."""
        if self.framed:
            assert isinstance(transport, CanFrame)
            return transport.send_frame
        return lambda packet: transport.send(packet, self._binary)
