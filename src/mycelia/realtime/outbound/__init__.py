"""Messages to clients: replies, broadcasts, system events, transforms.

May import `realtime.connection`.
"""

__all__: list[str] = []
