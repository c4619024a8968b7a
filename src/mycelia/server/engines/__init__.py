"""HTTP servers behind one seam: each module completes one library to `base.HttpEngine`."""

__all__: list[str] = []
