"""The WebSocket subsystem without its public face: connections and what happens to them.

Its packages form layers; `core` wires them and is imported by `websocket` only.
"""

__all__: list[str] = []
