"""WebSocket connections over a byte stream: handshake, reading, closing, TLS.

Shared by the engines that own their byte stream: `transports.tcp`, `transports.memory` and the uvicorn bridge.
"""

__all__: list[str] = []
