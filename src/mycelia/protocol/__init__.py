"""The wire language above RFC 6455, as pure functions and values: no asyncio, no socket, no clock."""

__all__: list[str] = []
