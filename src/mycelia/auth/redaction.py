"""Texts for a log without the secrets that were at hand when they were made."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from mycelia.auth import Credential

__all__ = ["hide", "secrets_of", "traceback_without"]

_SHORTEST_SECRET = 8  # a cookie that says "1" is none, and blanking it out would make a log unreadable
_HIDDEN = "***"


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret in it blanked out, also as `repr`, a URL or a form would spell it."""
    for secret in sorted({spelled for each in secrets for spelled in _spellings(each)}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, _HIDDEN)
    return text


def _spellings(secret: str) -> tuple[str, ...]:
    raw = secret.encode(errors="replace")  # of half a surrogate pair, which no URL can spell
    return secret, repr(secret)[1:-1], quote(raw), quote(raw, safe=""), quote_plus(raw)


def traceback_without(fault: BaseException, secrets: Iterable[str]) -> str:
    """The traceback of an exception that somebody else raised, who may have put a secret into its text."""
    return hide("".join(traceback.format_exception(fault)), secrets)


def secrets_of(credential: Credential) -> list[str]:
    """What of a credential is to be blanked out."""
    values = [each for each in credential.cookies.values() if len(each) >= _SHORTEST_SECRET]
    return values if credential.token is None else [credential.token, *values]
