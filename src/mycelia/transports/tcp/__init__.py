"""The engines that listen on TCP and Unix sockets themselves: picows and websockets.

Reached through the engine registry only.
"""

__all__: list[str] = []
