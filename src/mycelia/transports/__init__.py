"""Transports: everything between a network connection and the `Peer` that a subsystem gives it.

Owns the seam (`seam`, `engine_options`, `capabilities`), the base class and the registry of engines (`base_engine`,
`engine_registry`), parts that several engines share, and the engines themselves, a package for each family. An engine
decides nothing: limits, order, authentication and heartbeats live above the seam.

Transports import `protocol`, `net`, `config`, `asgi`, `auth` and `scheduling`, never `kernel`, `serving` or `realtime`.
`realtime`, `websocket` and `testing` may import them.
"""

__all__: list[str] = []
