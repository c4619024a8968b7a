"""What a client is told when something goes wrong: a code and what it can act on, never an exception's text.

What is not told is logged under an error id, which the client gets, so that the two can be brought together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import time
from typing import Any
from uuid import uuid4

from mycelia.errors import HandlerError, InvalidPath, MyceliaError, RequestTimeout
from mycelia.kernel.messages.outcome import read
from mycelia.kernel.routing.router import Route
from mycelia.observability.error_log import RECORDING
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault, Response, ResponseMetadata

__all__ = ["TEXTS", "apology", "failure", "fault_of", "outcome_response", "packed_failure", "plain_fault"]

TEXTS: Mapping[str, str] = {
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
    Code.HANDLER_ERROR: "the handler failed",
}
# What a handler may raise so that its own client learns the code; anything else becomes HANDLER_ERROR.
_SPEAKING = frozenset(
    {Code.UNAUTHORIZED, Code.FORBIDDEN, Code.INVALID_BODY, Code.INVALID_PATH, Code.OVERLOADED, Code.DISABLED}
    | {Code.CONNECTION_NOT_FOUND, Code.RATE_LIMITED}
)


def plain_fault(code: Code, *, retryable: bool = False) -> Fault:
    """The fault of a code, in the standard words."""
    return Fault(code, TEXTS[code], None, retryable)


def failure(fault: Fault, correlation_id: Any, trace_id: str, data: Any = None) -> Response:
    """The envelope of a fault."""
    return Response(False, data, correlation_id, fault, ResponseMetadata(trace_id, int(time() * 1000)))


def packed_failure(pack: Callable[[Response], bytes], fault: Fault, correlation_id: Any, trace_id: str) -> bytes:
    """The packet of a fault; without its correlation id when it is that which cannot be encoded.

    A transform may have put anything there.
    """
    try:
        return pack(failure(fault, correlation_id, trace_id))
    except Exception:
        return pack(failure(fault, None, trace_id))


def outcome_response(value: Any, correlation_id: Any, trace_id: str) -> Response:
    """The envelope of what a handler returned."""
    outcome = read(value)
    if outcome.error is None:
        now = int(time() * 1000)
        return Response(outcome.success, outcome.data, correlation_id, None, ResponseMetadata(trace_id, now))
    error = outcome.error
    fault = Fault(error.code, error.message, error.details, error.retryable)
    return failure(fault, correlation_id, trace_id, outcome.data)


def fault_of(error: Exception, route: Route | None, connection_id: str, trace_id: str) -> Fault:
    """The fault of an exception, raised before a route was found (None) or by its handler."""
    if route is not None:
        route.failed += 1
    if isinstance(error, RequestTimeout) and route is not None and error.what == route.path:
        return plain_fault(Code.TIMEOUT, retryable=True)
    if isinstance(error, MyceliaError):
        inner = error.passed_on and error.code in (Code.INVALID_BODY, Code.INVALID_PATH)
        if route is None or (error.code in _SPEAKING and not inner):
            text = TEXTS.get(error.code, TEXTS[Code.HANDLER_ERROR])
            hidden = error.code == Code.NOT_FOUND and not isinstance(error, InvalidPath)
            return Fault(error.code, text, None if hidden else error.details, error.retryable)
        if isinstance(error, HandlerError) and error.__cause__ is None:
            return Fault(error.code, error.message, error.details, error.retryable)
    path = route.path if route is not None else ""
    what = f"the handler of {path or 'a message'} failed"
    return apology(what, connection_id, error, trace_id=trace_id, path=path)


def apology(what: str, connection_id: str, error: BaseException, *, trace_id: str = "-", path: str = "") -> Fault:
    """Logs and records what the client must not see, under one id, and returns the HANDLER_ERROR that bears it."""
    errors = RECORDING.get()
    logger = logging.getLogger(f"mycelia.{'websocket' if errors is None else errors.source}")
    if errors is None:  # outside of every task of a subsystem there is only the log
        error_id = uuid4().hex
    else:
        error_id = errors.add(what, error, path=path, connection_id=connection_id, trace_id=trace_id).id
    logger.error(
        "%s (error %s, connection %s, trace %s)",
        what,
        error_id,
        connection_id,
        trace_id,
        exc_info=error,
        extra={"error_id": error_id, "connection_id": connection_id, "trace_id": trace_id},
    )
    return Fault(Code.HANDLER_ERROR, TEXTS[Code.HANDLER_ERROR], {"errorId": error_id})
