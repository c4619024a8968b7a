"""What the HTTP server and the WebSocket server have in common above the kernel.

Owns error responses, the ASGI lifespan and the shared faces of a listening subsystem. Only `realtime`, `server` and
`websocket` may import it.
"""

__all__: list[str] = []
