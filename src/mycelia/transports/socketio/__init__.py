"""The Socket.IO engine: sessions over polling and WebSocket under an ASGI server.

Reached through the engine registry only.
"""

__all__: list[str] = []
