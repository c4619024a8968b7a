"""Texts for a log without the secrets that were at hand when they were made."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

__all__ = ["hide", "traceback_without"]

_HIDDEN = "***"


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret in it blanked out, also as `repr` would spell it."""
    for secret in sorted({spelled for each in secrets for spelled in (each, repr(each)[1:-1])}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, _HIDDEN)
    return text


def traceback_without(fault: BaseException, secrets: Iterable[str]) -> str:
    """The traceback of an exception that somebody else raised, who may have put a secret into its text."""
    return hide("".join(traceback.format_exception(fault)), secrets)
