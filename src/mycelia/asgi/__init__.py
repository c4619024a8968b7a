"""The ASGI side of a request: scopes read, responses sent.

Owns the translation between ASGI messages and the types of `protocol.http`. Transports, `serving`, `server` and
`websocket` may import it.
"""

__all__: list[str] = []
