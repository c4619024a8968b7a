"""The settings of Engine.IO sessions: what the handshake tells clients, and the limits of a session."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import json

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Times and limits of every session of one server. Durations are in seconds.

    Attributes:
        ping_interval: The time between two pings of the server.
        ping_timeout: The time that a client has to answer a ping.
        max_payload_bytes: The largest request body, response body and WebSocket message.
        upgrades: True if a session over HTTP may move to a WebSocket.
        upgrade_timeout: The time that this move may take.
        close_timeout: The time that a closing session has to send what is queued.
        response_packets: The largest number of packets in one response. The Python clients discard a response that
            has more than 16.
        request_packets: The largest number of packets in one request body.
        buffer_bytes: The limit for packets that wait for a GET.
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
        """Return the JSON payload of the open packet.

        Args:
            sid: The id of the session.
            upgrades: True to offer a WebSocket, if the settings allow it.
        """
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
    """Return the duration in milliseconds, exact also below one second."""
    exact = round(seconds * 1000, 3)
    return int(exact) if exact.is_integer() else exact
