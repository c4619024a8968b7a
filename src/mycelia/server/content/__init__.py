"""What the HTTP server answers by itself: static files and health probes.

Only the faces of `server` and `server.requests` may import it.
"""

__all__: list[str] = []
