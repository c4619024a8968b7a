"""Redaction: removes the secrets of a credential from strings that go to a log."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from mycelia.auth.authenticator import Credential

__all__ = ["redact", "secrets_of", "traceback_without"]

_MIN_SECRET_LENGTH = 8  # A shorter cookie, such as "1", is no secret. Its redaction would make a log unreadable.
_REDACTED = "***"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret replaced, also as `repr`, a URL or a form encodes the secret."""
    for secret in sorted({encoded for each in secrets for encoded in _encodings(each)}, key=len, reverse=True):
        if secret:
            text = text.replace(secret, _REDACTED)
    return text


def traceback_without(error: BaseException, secrets: Iterable[str]) -> str:
    """Return the traceback of an exception without the secrets. Foreign code may put a secret into its message."""
    return redact("".join(traceback.format_exception(error)), secrets)


def secrets_of(credential: Credential) -> list[str]:
    """Return the secrets of a credential: its token and its long cookies."""
    values = [each for each in credential.cookies.values() if len(each) >= _MIN_SECRET_LENGTH]
    return values if credential.token is None else [credential.token, *values]


def _encodings(secret: str) -> tuple[str, ...]:
    raw = secret.encode(errors="replace")  # A lone surrogate cannot be part of a URL.
    return secret, repr(secret)[1:-1], quote(raw), quote(raw, safe=""), quote_plus(raw)
