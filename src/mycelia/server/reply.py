"""An answer over HTTP: status, headers, body; of a message it is the envelope of the wire language, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

from mycelia.edge.faults import failure
from mycelia.protocol.asgi_scope import Send
from mycelia.protocol.codec import CODECS
from mycelia.protocol.codes import Code, status_of
from mycelia.protocol.envelope import Fault, Response

__all__ = ["Header", "Reply", "fault_reply", "response_reply", "start_event"]

Header = tuple[str, str]

_JSON: tuple[Header, ...] = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
)
_WITHOUT_LENGTH = (204, 304)  # RFC 9110 §8.6: the one may have none, and of the other it would be the file's
_LATER = "5"  # seconds after which a busy server may be asked again


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, small enough to be in memory."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send, *, head_only: bool = False, extra: tuple[Header, ...] = ()) -> None:
        """Sends it; a client that has gone does not get it."""
        with suppress(OSError):
            length = () if self.status in _WITHOUT_LENGTH else (("content-length", str(len(self.body))),)
            await send(start_event(self.status, (*length, *self.headers, *extra)))
            await send({"type": "http.response.body", "body": b"" if head_only else self.body, "more_body": False})


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
        wait = fault.details.get("retryAfterMs", 1000) if isinstance(fault.details, Mapping) else 1000
        headers = (("retry-after", str(max(1, ceil(wait / 1000)))),)
    elif found == 503:
        headers = (("retry-after", _LATER),)
    return response_reply(failure(fault, None, trace_id), found, headers)
