"""The SockJS engine: sessions over HTTP and WebSocket under an ASGI server.

Reached through the engine registry only.
"""

__all__: list[str] = []
