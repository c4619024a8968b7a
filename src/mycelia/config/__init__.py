"""Reads sections of a configuration and checks every value.

Owns the rules for keys, units and types that all sections share. The sections themselves live beside the code that uses
them. Every package above `scheduling` may import it.
"""

__all__: list[str] = []
