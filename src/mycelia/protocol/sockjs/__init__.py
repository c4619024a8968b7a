"""SockJS 0.3.3 as state machines without I/O.

`transports.sockjs` runs it.
"""

__all__: list[str] = []
