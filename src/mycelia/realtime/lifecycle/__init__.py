"""The life of a connection as the application sees it, and the drain of the server.

May import every package of `realtime` but `overload`.
"""

__all__: list[str] = []
