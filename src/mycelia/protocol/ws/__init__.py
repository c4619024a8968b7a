"""RFC 6455 and RFC 7692: the opening handshake, frames, messages, compression.

Does no I/O: bytes in, values out. Transports and `realtime` may import it.
"""

__all__: list[str] = []
