"""The engine that serves WebSockets under an ASGI server.

Reached through the engine registry only.
"""

__all__: list[str] = []
