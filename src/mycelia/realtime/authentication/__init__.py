"""Authentication of connections: handshake and first-message credentials, renewal, expiry, policy.

May import `realtime.inbound` and `realtime.outbound`.
"""

__all__: list[str] = []
