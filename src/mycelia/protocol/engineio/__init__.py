"""Engine.IO protocol 4 as state machines without I/O.

Owns packets (`packets`), request checks (`requests`) and the session (`session`). `protocol.socketio` builds on it, and
`transports.socketio` runs it.
"""

from mycelia._deprecated import forward_old_names

__all__: list[str] = []

forward_old_names(__name__)
