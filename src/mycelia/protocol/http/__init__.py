"""HTTP requests as values: heads, credentials, forwarding headers, trace headers.

Does no I/O. Transports, `net`, `asgi`, `auth`, `server` and `realtime` may import it.
"""

__all__: list[str] = []
