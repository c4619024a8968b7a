"""Transports: everything between a network connection and the `Peer` that a subsystem gives it.

Owns the seam (`seam`), the registry of engines and the engines themselves. An engine decides nothing: limits, order,
authentication and heartbeats live above the seam. Transports import `protocol`, `net`, `config`, `asgi` and
`scheduling`, never `kernel` or `realtime`. `realtime`, `websocket` and `testing` may import them.
"""

__all__: list[str] = []
