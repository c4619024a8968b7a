"""An answer over HTTP: status, headers, body; of a message it is the envelope of the wire language, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

from mycelia.asgi.scope import Send
from mycelia.protocol.wire.codec import CODECS
from mycelia.protocol.wire.codes import Code, status_of
from mycelia.protocol.wire.envelope import Fault, Response
from mycelia.serving.error_responses import failure

__all__ = ["Header", "Reply", "fault_reply", "response_reply", "start_event"]

Header = tuple[str, str]

_JSON: tuple[Header, ...] = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
)
_BODILESS = (204, 304)  # RFC 9110 §6.4.1; nor do they say a length (§8.6)
_LATER = "5"  # seconds after which a busy server may be asked again
_AGES = 10**12  # milliseconds


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, small enough to be in memory."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send, *, head_only: bool = False, extra: tuple[Header, ...] = ()) -> None:
        """Sends it, without its body where the status allows none; a client that has gone does not get it."""
        bodiless = self.status in _BODILESS
        body = b"" if bodiless or head_only else self.body
        with suppress(OSError):
            length = () if bodiless else (("content-length", str(len(self.body))),)
            await send(start_event(self.status, (*length, *self.headers, *extra)))
            await send({"type": "http.response.body", "body": body, "more_body": False})


def start_event(status: int, headers: tuple[Header, ...]) -> dict[str, object]:
    """The event that begins an answer."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}


def response_reply(response: Response, status: int, headers: tuple[Header, ...] = ()) -> Reply:
    """The reply of an envelope. Raises InvalidMessage for data outside the data model."""
    return Reply(status, CODECS["json"].encode(response), (*_JSON, *headers))


def fault_reply(
    fault: Fault, trace_id: str, status: int | None = None, statuses: Mapping[str, int] | None = None
) -> Reply:
    """The reply of a fault, under `status`; else as `statuses` says of its code, else as the table of all codes."""
    code = fault.code
    found = status or (statuses or {}).get(code) or status_of(code)
    headers: tuple[Header, ...] = ()
    if found == 401:
        headers = (("www-authenticate", "Bearer"),)  # RFC 9110 §11.6.1
    elif code == Code.RATE_LIMITED:
        headers = (("retry-after", str(_seconds(fault.details))),)
    elif found == 503:
        headers = (("retry-after", _LATER),)
    return response_reply(failure(fault, None, trace_id), found, headers)


def _seconds(details: object) -> int:
    """How long a client may have to wait, as far as the details, which may be a handler's own, say that."""
    wait = details.get("retryAfterMs") if isinstance(details, Mapping) else None
    return max(1, ceil(wait / 1000)) if isinstance(wait, (int, float)) and 0 <= wait < _AGES else 1
