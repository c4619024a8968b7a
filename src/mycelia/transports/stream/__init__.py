"""WebSocket connections over a byte stream: handshake, reading, closing, TLS.

Owns `StreamConnection` and everything that its engines share (`StreamEngine`), the readers of frames, and TLS. It opens
no socket. `transports.tcp`, `transports.memory` and the uvicorn bridge of `transports.socketio` bring the streams and
may import it.
"""

__all__: list[str] = []
