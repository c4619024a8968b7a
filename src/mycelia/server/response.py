"""An HTTP response: status, headers and body. For a message the body is the response envelope as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

from mycelia.asgi.scope import Send
from mycelia.protocol.wire.codec import CODECS
from mycelia.protocol.wire.codes import Code, status_of
from mycelia.protocol.wire.envelope import Fault, Response
from mycelia.serving.responses import error_response

__all__ = ["Header", "HttpResponse", "envelope_response", "failure_response", "start_event"]

Header = tuple[str, str]

_ENVELOPE_HEADERS: tuple[Header, ...] = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
)
_WITHOUT_BODY = (204, 304)  # RFC 9110 §6.4.1. These have no Content-Length either (§8.6).
_RETRY_AFTER_OVERLOAD = "5"  # seconds
_MAX_RETRY_MS = 10**12


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response that fits into memory."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send, *, head_only: bool = False, extra: tuple[Header, ...] = ()) -> None:
        """Send the response, without a body if the status allows none. Ignore a client that has disconnected."""
        has_no_body = self.status in _WITHOUT_BODY
        body = b"" if has_no_body or head_only else self.body
        with suppress(OSError):
            length = () if has_no_body else (("content-length", str(len(self.body))),)
            await send(start_event(self.status, (*length, *self.headers, *extra)))
            await send({"type": "http.response.body", "body": body, "more_body": False})


def start_event(status: int, headers: tuple[Header, ...]) -> dict[str, object]:
    """Return the ASGI event that starts a response."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}


def envelope_response(response: Response, status: int, headers: tuple[Header, ...] = ()) -> HttpResponse:
    """Return the HTTP response of an envelope. Raise InvalidMessage for data outside the data model."""
    return HttpResponse(status, CODECS["json"].encode(response), (*_ENVELOPE_HEADERS, *headers))


def failure_response(
    error: Fault, trace_id: str, status: int | None = None, statuses: Mapping[str, int] | None = None
) -> HttpResponse:
    """Return the HTTP response of an error.

    Args:
        error: The error.
        trace_id: The trace of the request.
        status: The status. None looks the code up in `statuses`, then in the table of all codes.
        statuses: The statuses of the route for its own error codes.
    """
    code = error.code
    found = status or (statuses or {}).get(code) or status_of(code)
    headers: tuple[Header, ...] = ()
    if found == 401:
        headers = (("www-authenticate", "Bearer"),)  # RFC 9110 §11.6.1
    elif code == Code.RATE_LIMITED:
        headers = (("retry-after", str(_retry_seconds(error.details))),)
    elif found == 503:
        headers = (("retry-after", _RETRY_AFTER_OVERLOAD),)
    return envelope_response(error_response(error, None, trace_id), found, headers)


def _retry_seconds(details: object) -> int:
    """Return the seconds that the client has to wait. The details may come from a handler and hold any value."""
    wait = details.get("retryAfterMs") if isinstance(details, Mapping) else None
    return max(1, ceil(wait / 1000)) if isinstance(wait, (int, float)) and 0 <= wait < _MAX_RETRY_MS else 1
