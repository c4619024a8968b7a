"""Heartbeats, idle timeouts and the maximum age of connections.

May import `realtime.connection`.
"""

__all__: list[str] = []
