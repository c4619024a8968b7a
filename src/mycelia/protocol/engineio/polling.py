"""The HTTP side of an Engine.IO session: its open requests, and the packets that wait for a GET."""

from __future__ import annotations

from collections.abc import Hashable

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.actions import Action, Respond, reject
from mycelia.protocol.engineio.packet_queue import PacketQueue
from mycelia.protocol.engineio.packets import SEPARATOR, Packet, PacketKind, write_part
from mycelia.protocol.engineio.requests import ErrorResponse
from mycelia.protocol.engineio.settings import Settings

__all__ = ["NOOP", "LongPolling"]

NOOP = write_part(Packet(PacketKind.NOOP))
_CLOSE = write_part(Packet(PacketKind.CLOSE))


class LongPolling:
    """At most one GET and one POST at a time, and the packets that wait for the next GET.

    Attributes:
        get: The key of the GET that waits for packets, or None.
        post: The key of the POST that is being read, or None.
        queue: The packets that wait for a GET.
    """

    __slots__ = ("_settings", "get", "post", "queue")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.get: Hashable = None
        self.post: Hashable = None
        self.queue = PacketQueue()

    def put(self, packet: Packet) -> bool:
        """Queue a message; return False if it exceeds the limit of the queue.

        Raises InvalidMessage for text with the separator 0x1E.
        """
        if not packet.binary and SEPARATOR in packet.payload:
            raise InvalidMessage("expected a string without the character 0x1E, which HTTP long-polling cannot carry")
        if not self.queue.fits(packet.payload, self._settings.buffer_bytes):
            return False
        self.queue.put(packet)
        return True

    def flush(self, actions: list[Action]) -> None:
        """Answer the GET with queued packets, if it waits and packets are queued."""
        if self.get is not None and self.queue:
            key, self.get = self.get, None
            body = self.queue.response(self._settings.response_packets, self._settings.max_payload_bytes)
            actions.append(Respond(key, 200, body))

    def release_get(self, upgraded: bool, actions: list[Action]) -> None:
        """Answer the GET because of an upgrade: with a noop packet, or with an error if the session has moved."""
        if self.get is not None:
            response = reject(self.get, ErrorResponse.BAD_REQUEST) if upgraded else Respond(self.get, 200, NOOP)
            actions.append(response)
            self.get = None

    def cancel(self, key: Hashable) -> None:
        """Forget a request that its client has given up."""
        if key == self.get:
            self.get = None
        elif key == self.post:
            self.post = None

    def end(self, by_client: bool, actions: list[Action]) -> None:
        """Answer both requests and drop the queue, because the session ends."""
        if self.get is not None:
            actions.append(Respond(self.get, 200, NOOP if by_client else _CLOSE))
        if self.post is not None:
            error = ErrorResponse.UNKNOWN_SESSION
            actions.append(Respond(self.post, 200, b"ok") if by_client else reject(self.post, error))
        self.get = self.post = None
        self.queue = PacketQueue()
