"""The Socket.IO engine: sessions over HTTP long-polling and WebSocket under an ASGI server.

Owns sessions (`session_manager`, `session_transport`, `polling`), the clients above them (`client`,
`namespace_transport`) and the bridge to uvicorn. The engine registry loads it; `websocket.asgi` uses the bridge.
"""

__all__: list[str] = []
