"""HTTP servers behind one seam.

Owns the seam (`seam`), the registry of engines, and one module for each library. Only that module imports its library.
`server.config` and `server.endpoint` may import this package.
"""

__all__: list[str] = []
