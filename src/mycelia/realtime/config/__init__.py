"""The configuration of a WebSocketSubsystem, a frozen section for each concern.

Every package of `realtime` and `websocket` may import it.
"""

__all__: list[str] = []
