"""The engines that listen on TCP and Unix sockets themselves: `picows` (default) and `websockets` (reference).

Owns listening sockets. No other package imports it; the engine registry loads it by name.
"""

__all__: list[str] = []
