"""The life of a connection as the application sees it, and taking the server out of service.

May import every package of `realtime` but `overload`.
"""

__all__: list[str] = []
