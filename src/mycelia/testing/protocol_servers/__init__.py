"""The servers that the official tests of Engine.IO, Socket.IO and SockJS expect, without a subsystem above them.

`python -m mycelia.testing.echo --engine socketio` runs one. Only `mycelia.testing.echo` imports this package.
"""

__all__: list[str] = []
