"""How a subsystem is made: hooks, facets, contracts, the builder, life-cycle states.

Owns the order in which hooks are verified and executed. Subsystems and the canonical hooks import it.
"""

__all__: list[str] = []
