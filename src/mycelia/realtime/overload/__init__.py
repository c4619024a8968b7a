"""Overload: its measures, load shedding and memory trim.

May import `realtime.inbound` and everything below it.
"""

__all__: list[str] = []
