"""One connection: its state, its identity, what waits for its peer; and the registry of all.

Imports `realtime.config` and transports' seam. Every other package of `realtime` may import it.
"""

__all__: list[str] = []
