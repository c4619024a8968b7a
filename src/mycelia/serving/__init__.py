"""The parts that the HTTP server and the WebSocket server share above the kernel.

Owns the base classes of a subsystem that listens and the configuration sections that both servers have. Also owns the
authentication of clients, the mapping of exceptions to error responses, and the ASGI lifespan. Only `realtime`,
`server` and `websocket` may import it.
"""

__all__: list[str] = []
