"""Socket.IO protocol 5 as state machines without I/O.

`transports.socketio` runs it.
"""

__all__: list[str] = []
