"""The error that a client receives for an exception: a code, a fixed message and details that are safe to show.

A client never receives the message of an exception, because it may hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping

from mycelia.errors import HandlerError, InvalidPath, MyceliaError, RequestTimeout
from mycelia.kernel.routing.router import Route
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault
from mycelia.serving.internal_error import INTERNAL_ERROR, internal_error

__all__ = ["MESSAGES", "error_for", "standard_error"]

MESSAGES: Mapping[str, str] = {
    Code.NOT_FOUND: "no such path",
    Code.UNAUTHORIZED: "sign in first",
    Code.FORBIDDEN: "not allowed",
    Code.INVALID_PATH: "the path is not valid",
    Code.INVALID_BODY: "the body is not valid",
    Code.INVALID_MESSAGE: "the message is not valid",
    Code.OVERLOADED: "too busy; try again later",
    Code.RATE_LIMITED: "too many messages; try again later",
    Code.TIMEOUT: "no answer in time",
    Code.DISABLED: "switched off here",
    Code.CONNECTION_NOT_FOUND: "no such connection",
    Code.CANCELLED: "cancelled",
    Code.HANDLER_ERROR: INTERNAL_ERROR,
}
"""The message of each code."""

# The codes that a client receives if its handler raises such an error. Any other code becomes HANDLER_ERROR.
_CODES_OF_HANDLERS = frozenset(
    {Code.UNAUTHORIZED, Code.FORBIDDEN, Code.INVALID_BODY, Code.INVALID_PATH, Code.OVERLOADED, Code.DISABLED}
    | {Code.CONNECTION_NOT_FOUND, Code.RATE_LIMITED}
)


def standard_error(code: Code, *, retryable: bool = False) -> Fault:
    """Return the error of a code, with the standard message."""
    return Fault(code, MESSAGES[code], None, retryable)


def error_for(error: Exception, route: Route | None, connection_id: str, trace_id: str) -> Fault:
    """Return the error that the client receives for an exception.

    Args:
        error: The exception.
        route: The route whose handler raised it. None if it was raised before a route was found.
        connection_id: The connection, for the log.
        trace_id: The trace, for the log.
    """
    if route is not None:
        route.failed += 1
    if isinstance(error, RequestTimeout) and route is not None and error.what == route.path:
        return standard_error(Code.TIMEOUT, retryable=True)
    if isinstance(error, MyceliaError):
        # The body or path is wrong in a message that the handler sent, not in the client's message.
        is_inner = error.passed_on and error.code in (Code.INVALID_BODY, Code.INVALID_PATH)
        if route is None or (error.code in _CODES_OF_HANDLERS and not is_inner):
            message = MESSAGES.get(error.code, INTERNAL_ERROR)
            is_hidden = error.code == Code.NOT_FOUND and not isinstance(error, InvalidPath)
            return Fault(error.code, message, None if is_hidden else error.details, error.retryable)
        if isinstance(error, HandlerError) and error.__cause__ is None:
            return Fault(error.code, error.message, error.details, error.retryable)
    path = route.path if route is not None else ""
    what = f"the handler of {path or 'a message'} failed"
    return internal_error(what, connection_id, error, trace_id=trace_id, path=path)
