"""The response to a request that failed. This is the only place that maps errors of HTTP requests."""

from __future__ import annotations

from mycelia.errors import InvalidMessage
from mycelia.protocol.http.request import BadHandshake
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault, ProtocolFault
from mycelia.server.requests.body import BodyTimeout
from mycelia.server.requests.exchange import Exchange
from mycelia.server.requests.handler_call import UnencodableResponse
from mycelia.server.response import HttpResponse, failure_response
from mycelia.server.router import MethodNotAllowed
from mycelia.serving.error_mapping import error_for, standard_error
from mycelia.serving.internal_error import internal_error

__all__ = ["cancelled_response", "error_response"]

_CODES = {403: Code.FORBIDDEN, 421: Code.FORBIDDEN}


def error_response(error: Exception, exchange: Exchange) -> HttpResponse:
    """Return the response for an exception of a check or of the handler."""
    try:
        return _response(error, exchange)
    except InvalidMessage as unencodable:  # in the details of the handler's error
        path = "" if exchange.target is None else exchange.target.path
        return _response(UnencodableResponse(path, unencodable), exchange)


def cancelled_response(exchange: Exchange, *, by_server: bool) -> HttpResponse:
    """Return the response for a request that was cancelled: by the server at its stop, or by the handler itself."""
    found = standard_error(Code.CANCELLED, retryable=by_server)
    return failure_response(found, exchange.trace_id, None, None if by_server else exchange.statuses)


def _response(error: Exception, exchange: Exchange) -> HttpResponse:
    trace_id, request_id = exchange.trace_id, exchange.request_id
    if isinstance(error, UnencodableResponse):
        found = internal_error(str(error), request_id, error.cause, trace_id=trace_id, path=error.path)
        return failure_response(found, trace_id, None, exchange.statuses)
    if exchange.target is None and (response := _rejection(error, trace_id)) is not None:
        return response
    return failure_response(error_for(error, exchange.target, request_id, trace_id), trace_id, None, exchange.statuses)


def _rejection(error: Exception, trace_id: str) -> HttpResponse | None:
    """Return the response for an exception that only checks raise; None for any other exception."""
    match error:
        case BodyTimeout():
            return failure_response(standard_error(Code.TIMEOUT, retryable=True), trace_id, 408)
        case BadHandshake():
            status = error.reply.status
            code = _CODES.get(status, Code.INVALID_MESSAGE)
            return failure_response(Fault(code, error.reply.body.decode().strip()), trace_id, status)
        case MethodNotAllowed():
            found = Fault(Code.METHOD_NOT_ALLOWED, "not with this method", {"allowed": list(error.allowed)})
            response = failure_response(found, trace_id)
            allow = ("allow", ", ".join(error.allowed))
            return HttpResponse(response.status, response.body, (*response.headers, allow))
        case ProtocolFault():
            return failure_response(Fault(error.code, error.message, error.details), trace_id)
    return None
