"""Paths, routes, call plans and the pipeline around a handler.

Owns the way from a path to a call. It may import `kernel.messages`.
"""

__all__: list[str] = []
