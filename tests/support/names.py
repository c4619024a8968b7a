"""Names of parametrised tests: the same in every process, or workers that share the tests do not agree on them."""

from __future__ import annotations

import re

__all__ = ["ADDRESS", "shown"]

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]*")


def shown(value: object) -> str:
    """What `repr` says of a value, shortened and without addresses; for `ids=`."""
    return ADDRESS.sub("", repr(value))[:60]
