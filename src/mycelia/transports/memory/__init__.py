"""The engine for tests: connections inside one process, without sockets.

Owns in-memory streams and their clients. `mycelia.testing` may import it; the engine registry loads it by name.
"""

__all__: list[str] = []
