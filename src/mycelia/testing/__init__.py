"""Tools for the tests of applications and engines: a mock client, a fault proxy, and the engine suite.

`create_mock_websocket_client(system)` connects to a WebSocketSubsystem of type `memory`, without a port.
`create_mock_websocket_client()` connects to any server over a real socket. `engine_checks()` returns the checks that
every engine must pass. `FaultProxy` simulates a bad network: it delays, splits, stalls, drops, half-closes and resets
connections between a client and a server.
"""

from mycelia.testing.client import MockWebSocketClient, create_mock_websocket_client
from mycelia.testing.engines import EngineCheck, engine_checks
from mycelia.testing.inbox import ConnectionEnded, NothingArrived
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
