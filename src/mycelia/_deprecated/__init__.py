"""Old module paths and old public names, kept for one release.

Delete this package, and its callers, when 0.2 is released. It imports no other module of Mycelia before an old name is
used. Every package may import it.
"""

from mycelia._deprecated.aliases import forward_old_names, install_aliases

__all__ = ["forward_old_names", "install_aliases"]
