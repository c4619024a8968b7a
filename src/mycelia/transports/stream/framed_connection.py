"""A stream connection that takes finished frames, for engines that declare `framed`."""

from __future__ import annotations

from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.transport_state import TransportState

__all__ = ["FramedConnection"]

_OPEN = TransportState.OPEN


class FramedConnection(StreamConnection):
    """A stream connection that can write a frame which many connections share."""

    __slots__ = ()

    def send_frame(self, frame: bytes) -> None:
        if self.state is _OPEN:
            self._stream.write(frame)
