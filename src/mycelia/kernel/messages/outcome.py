"""What a handler's return value says: data, or the seed-style envelope of success and error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Fault", "Outcome", "read"]

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple})
FAILED = "the handler reported a failure"


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Why something failed, in the words that a caller may see."""

    message: str
    code: str = "HANDLER_ERROR"
    details: Any = None
    retryable: bool = False


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of a message."""

    success: bool
    data: Any = None
    error: Fault | None = None
    metadata: Any = None


def read(value: Any) -> Outcome:
    """The outcome that `value` stands for.

    A mapping is an envelope only if `success` is a bool and its keys are among `success`, `data`,
    `error` and `metadata`. Everything else is data, and falsy data stays itself.
    """
    kind = type(value)
    if kind is not dict and (kind in _PLAIN or not isinstance(value, Mapping)):
        return Outcome(True, value)
    success = value.get("success")
    if success is not True and success is not False:
        return Outcome(True, value)
    known = 1 + ("data" in value) + ("error" in value) + ("metadata" in value)
    if known != len(value):
        return Outcome(True, value)
    if success:
        return Outcome(True, value.get("data"), None, value.get("metadata"))
    return Outcome(False, value.get("data"), _fault(value.get("error")), value.get("metadata"))


def _fault(error: Any) -> Fault:
    """An error in one form, whatever the handler wrote; the text of an exception never becomes public."""
    if isinstance(error, str):
        return Fault(error or FAILED)
    if not isinstance(error, Mapping):
        return Fault(FAILED)
    code, message = error.get("code"), error.get("message")
    return Fault(
        message if isinstance(message, str) and message else FAILED,
        code if isinstance(code, str) and code else "HANDLER_ERROR",
        error.get("details"),
        error.get("retryable") is True,
    )
