"""The WebSocket subsystem."""

from mycelia._deprecated import forward_old_names
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.policy import Decision
from mycelia.realtime.config.config import Config
from mycelia.realtime.config.endpoint import ServerConfig
from mycelia.realtime.config.sections import AuthenticationConfig, ConnectionConfig, RoutingConfig
from mycelia.realtime.connection.connection import ConnectionState, WebSocketConnection
from mycelia.realtime.connection.send_queue import Overflow, SendResult
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
    "ConnectionState",
    "Decision",
    "Overflow",
    "RoutingConfig",
    "SendResult",
    "ServerConfig",
    "WebSocketConnection",
    "WebSocketContract",
    "WebSocketFacet",
    "WebSocketSubsystem",
    "use_websockets",
]

forward_old_names(__name__)
