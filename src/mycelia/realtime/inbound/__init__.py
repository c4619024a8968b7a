"""The way of a client's message: receive, queue, resolve, invoke, answer.

May import `realtime.connection` and `realtime.outbound`.
"""

__all__: list[str] = []
