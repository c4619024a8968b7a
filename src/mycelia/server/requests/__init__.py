"""One HTTP request: from the ASGI scope to a message and back to a response.

Owns the order of checks on a request. Only the faces of `server` may import it.
"""

__all__: list[str] = []
