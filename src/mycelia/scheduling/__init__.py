"""Fair scheduling, timers and rate limits for one event loop.

Owns the order in which expensive work runs, and every timer that many connections share. It knows no message and no
socket. Every package above `errors` may import it.
"""

__all__: list[str] = []
