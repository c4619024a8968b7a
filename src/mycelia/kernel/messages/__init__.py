"""Messages, the context that they are handled in, and the outcome of a handler.

Owns what travels between subsystems. `kernel.routing` and everything above may import it.
"""

__all__: list[str] = []
