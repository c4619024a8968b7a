"""What applications and engine authors use in their own tests: a mock client, and the engine suite.

`create_mock_websocket_client(system)` talks to a WebSocketSubsystem of type `memory`, without a port;
`create_mock_websocket_client()` to any server over a real socket. `engine_checks()` proves an engine.
"""

from mycelia.testing.arrivals import ConnectionEnded, NothingArrived
from mycelia.testing.client import MockWebSocketClient, create_mock_websocket_client
from mycelia.testing.engines import EngineCheck, engine_checks
from mycelia.websocket.engines.memory_socket import HandshakeRefused

__all__ = [
    "ConnectionEnded",
    "EngineCheck",
    "HandshakeRefused",
    "MockWebSocketClient",
    "NothingArrived",
    "create_mock_websocket_client",
    "engine_checks",
]
