"""Socket.IO protocol 5 as state machines without I/O.

Owns packets (`packets`, `attachments`), the namespaces of a client (`namespaces`) and the engine's codec (`codec`). It
imports `protocol.engineio` and `protocol.wire`. `transports.socketio` runs it.
"""

from mycelia._deprecated import forward_old_names

__all__: list[str] = []

forward_old_names(__name__)
