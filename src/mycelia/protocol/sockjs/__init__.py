"""SockJS 0.3.3 as state machines without I/O.

`transports.sockjs` runs it.
"""

from mycelia._deprecated import forward_old_names

__all__: list[str] = []

forward_old_names(__name__)
