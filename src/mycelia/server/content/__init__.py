"""The responses that the HTTP server makes itself: static files and health probes.

It imports `server.router`, `server.response` and `server.config`. Only `server.requests`, `server.core` and the
modules above them may import it.
"""

__all__: list[str] = []
