"""Response envelopes: for the value that a handler returned, and for an error."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from mycelia.kernel.messages.outcome import read
from mycelia.protocol.wire.envelope import Fault, Response, ResponseMetadata

__all__ = ["error_response", "outcome_response", "pack_error_response"]


def error_response(error: Fault, correlation_id: Any, trace_id: str, data: Any = None) -> Response:
    """Return the envelope of an error."""
    return Response(False, data, correlation_id, error, ResponseMetadata(trace_id, int(time() * 1000)))


def pack_error_response(pack: Callable[[Response], bytes], error: Fault, correlation_id: Any, trace_id: str) -> bytes:
    """Return the packet of an error.

    A transform may have replaced the correlation id by a value that cannot be encoded. The packet then has none.
    """
    try:
        return pack(error_response(error, correlation_id, trace_id))
    except Exception:
        return pack(error_response(error, None, trace_id))


def outcome_response(value: Any, correlation_id: Any, trace_id: str) -> Response:
    """Return the envelope of the value that a handler returned."""
    outcome = read(value)
    if outcome.error is None:
        now = int(time() * 1000)
        return Response(outcome.success, outcome.data, correlation_id, None, ResponseMetadata(trace_id, now))
    error = outcome.error
    found = Fault(error.code, error.message, error.details, error.retryable)
    return error_response(found, correlation_id, trace_id, outcome.data)
