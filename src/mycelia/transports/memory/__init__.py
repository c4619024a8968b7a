"""The engine for tests: connections inside one process, without sockets.

Reached through the engine registry and by `mycelia.testing`.
"""

__all__: list[str] = []
