"""What applications and engine authors use in their own tests: a mock client, and the engine suite.

`create_mock_websocket_client(system)` talks to a WebSocketSubsystem of type `memory`, without a port;
`create_mock_websocket_client()` to any server over a real socket. `engine_checks()` proves an engine. `FaultProxy`
is a bad network: it delays, splits, stalls, drops, half-closes and resets what passes between client and server.
"""

from mycelia.testing.arrivals import ConnectionEnded, NothingArrived
from mycelia.testing.client import MockWebSocketClient, create_mock_websocket_client
from mycelia.testing.engines import EngineCheck, engine_checks
from mycelia.testing.proxy import FaultProxy
from mycelia.transports.memory.socket import HandshakeRefused

__all__ = [
    "ConnectionEnded",
    "EngineCheck",
    "FaultProxy",
    "HandshakeRefused",
    "MockWebSocketClient",
    "NothingArrived",
    "create_mock_websocket_client",
    "engine_checks",
]
