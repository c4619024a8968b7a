"""Overload: its measures, load shedding and giving memory back.

May import `realtime.inbound` and everything below it.
"""

__all__: list[str] = []
