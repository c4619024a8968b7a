"""Messages from clients: receive, queue, resolve, invoke, answer.

May import `realtime.connection` and `realtime.outbound`.
"""

__all__: list[str] = []
