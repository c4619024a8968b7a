"""One HTTP request, from the ASGI scope to a message and back to a response.

Owns the order of the checks on a request (`dispatcher`) and the mapping of errors to responses (`failures`). It imports
`server.content` and the modules below it. Only `server.core` and the modules above it may import it.
"""

__all__: list[str] = []
