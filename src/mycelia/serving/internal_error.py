"""Internal errors: the client receives an error id, the operator finds the exception under that id in the log."""

from __future__ import annotations

import logging
from uuid import uuid4

from mycelia.auth import Credential
from mycelia.auth.redaction import secrets_of, traceback_without
from mycelia.observability.error_log import RECORDING, ErrorLog
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault

__all__ = ["INTERNAL_ERROR", "authenticator_error", "internal_error"]

INTERNAL_ERROR = "the handler failed"
"""The only message that a client receives about an internal error. Exception messages may hold secrets."""


def internal_error(
    what: str, connection_id: str, error: BaseException, *, trace_id: str = "-", path: str = ""
) -> Fault:
    """Log and record an exception that the client must not see, and return the HANDLER_ERROR for the client.

    The log entry, the record and the HANDLER_ERROR have the same error id. The record goes to the error log of the
    running task (`RECORDING`). Outside all tasks of a subsystem the exception is only logged.
    """
    errors = RECORDING.get()
    logger = logging.getLogger(f"mycelia.{'websocket' if errors is None else errors.source}")
    if errors is None:
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
    return Fault(Code.HANDLER_ERROR, INTERNAL_ERROR, {"errorId": error_id})


def authenticator_error(
    error: BaseException, credential: Credential, errors: ErrorLog, *, connection_id: str = "-", path: str = ""
) -> str:
    """Log and record an exception of an authenticator without the credential; return the error id."""
    what = "the authenticator failed"
    error_id = errors.add(what, error, path=path, connection_id=connection_id, trace_id="-").id
    logger = logging.getLogger(f"mycelia.{errors.source}")
    redacted = traceback_without(error, secrets_of(credential))
    logger.error("%s (error %s, connection %s)\n%s", what, error_id, connection_id, redacted)
    return error_id
