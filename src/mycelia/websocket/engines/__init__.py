"""Engines: one WebSocket library each, completed to the one contract of `base`."""

__all__: list[str] = []
