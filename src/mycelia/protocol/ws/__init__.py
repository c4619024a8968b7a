"""RFC 6455 and RFC 7692: the opening handshake, frames, messages and compression.

Does no I/O: bytes in, values out. May import `protocol.http` and `protocol.wire`. Transports, `realtime` and `testing`
may import it.
"""

__all__: list[str] = []
