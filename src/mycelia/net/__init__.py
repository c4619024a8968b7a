"""Network peers: listening sockets, TLS certificates, addresses, trusted proxies.

Owns what HTTP and WebSocket servers share about the network. It knows no message. `serving`, `transports`, `realtime`,
`server` and `websocket` may import it.
"""

__all__: list[str] = []
