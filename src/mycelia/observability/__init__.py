"""What the server records about itself: errors, counters, blocked event loops.

Owns the records and their bounds. It imports `errors` only, so that every other package may emit to it.
"""

__all__: list[str] = []
