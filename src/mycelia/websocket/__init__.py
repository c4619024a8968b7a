"""The WebSocket subsystem."""

from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.policy import Decision
from mycelia.realtime.config.authentication import AuthenticationConfig
from mycelia.realtime.config.config import Config, ConnectionConfig, RoutingConfig, ServerConfig
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.send_queue import Overflow, Verdict
from mycelia.realtime.connection.state import Phase
from mycelia.realtime.outbound.broadcaster import BroadcastResult
from mycelia.websocket.contract import WebSocketContract
from mycelia.websocket.facet import WebSocketFacet
from mycelia.websocket.hook import use_websockets
from mycelia.websocket.subsystem import WebSocketSubsystem

__all__ = [
    "Authentication",
    "AuthenticationConfig",
    "BroadcastResult",
    "Config",
    "ConnectionConfig",
    "Decision",
    "Overflow",
    "Phase",
    "RoutingConfig",
    "ServerConfig",
    "Verdict",
    "WebSocketConnection",
    "WebSocketContract",
    "WebSocketFacet",
    "WebSocketSubsystem",
    "use_websockets",
]
