"""Admission of peers: limits at the TCP accept, and the decision on a handshake.

May import `realtime.authentication` and everything below it.
"""

__all__: list[str] = []
