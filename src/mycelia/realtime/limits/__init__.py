"""Message rates of connections, principals and addresses.

May import `realtime.inbound`.
"""

__all__: list[str] = []
