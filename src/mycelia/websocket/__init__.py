"""The WebSocket subsystem."""

from mycelia.websocket.authentication import Authentication
from mycelia.websocket.broadcast import BroadcastResult
from mycelia.websocket.config import Config, ConnectionConfig, RoutingConfig, ServerConfig
from mycelia.websocket.connection import WebSocketConnection
from mycelia.websocket.contract import WebSocketContract
from mycelia.websocket.facet import WebSocketFacet
from mycelia.websocket.hook import use_websockets
from mycelia.websocket.outbox import Overflow, Verdict
from mycelia.websocket.phase import Phase
from mycelia.websocket.policy import Decision
from mycelia.websocket.requirement import AuthenticationConfig
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
