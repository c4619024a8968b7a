"""The codes of the wire language: error codes of responses, their HTTP status, and WebSocket close codes.

`STATUSES` and `CLOSES` are the only tables of their kind; servers, clients and documentation read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "CLOSES",
    "RETRYABLE",
    "STATUSES",
    "Close",
    "CloseFault",
    "CloseInfo",
    "Code",
    "close_payload",
    "may_receive",
    "may_send",
    "parse_close",
    "reconnects",
    "status_of",
]


class Code(StrEnum):
    """What `error.code` of a response may say, besides a handler's own codes."""

    INVALID_JSON = "INVALID_JSON"
    INVALID_MESSAGE = "INVALID_MESSAGE"
    INVALID_PATH = "INVALID_PATH"
    INVALID_BODY = "INVALID_BODY"
    UNSUPPORTED_DATA = "UNSUPPORTED_DATA"
    NOT_FOUND = "NOT_FOUND"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    TIMEOUT = "TIMEOUT"
    OVERLOADED = "OVERLOADED"
    CANCELLED = "CANCELLED"
    CONNECTION_NOT_FOUND = "CONNECTION_NOT_FOUND"
    DISABLED = "DISABLED"
    HANDLER_ERROR = "HANDLER_ERROR"
    WEBSOCKET_ERROR = "WEBSOCKET_ERROR"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    TOO_LARGE = "TOO_LARGE"


RETRYABLE: frozenset[Code] = frozenset({Code.OVERLOADED, Code.RATE_LIMITED, Code.TIMEOUT})
"""Codes after which the same request may succeed later, unchanged."""

STATUSES: Mapping[str, int] = MappingProxyType(
    {
        Code.INVALID_JSON: 400,
        Code.INVALID_MESSAGE: 400,
        Code.INVALID_PATH: 422,
        Code.INVALID_BODY: 422,
        Code.UNSUPPORTED_DATA: 415,
        Code.NOT_FOUND: 404,
        Code.UNAUTHORIZED: 401,
        Code.FORBIDDEN: 403,
        Code.RATE_LIMITED: 429,
        Code.TIMEOUT: 504,
        Code.OVERLOADED: 503,
        Code.CANCELLED: 503,
        Code.CONNECTION_NOT_FOUND: 404,
        Code.DISABLED: 403,
        Code.HANDLER_ERROR: 500,
        Code.WEBSOCKET_ERROR: 500,
        Code.METHOD_NOT_ALLOWED: 405,
        Code.TOO_LARGE: 413,
    }
)
"""The HTTP status of a response with this code (RFC 9110 §15)."""


def status_of(code: str) -> int:
    """The HTTP status of an error code; 500 for one that a handler made up."""
    return STATUSES.get(code, 500)


class Close(IntEnum):
    """Close codes: those of RFC 6455 §7.4.1 and its registry, and the private ones of Mycelia."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    NOT_AUTHENTICATED = 4401
    FORBIDDEN = 4403
    AUTHENTICATION_TIMEOUT = 4408
    SESSION_TAKEN_OVER = 4409
    REMOVED = 4410
    ABUSE = 4429
    SLOW_CONSUMER = 4504
    HEARTBEAT_LOST = 4505
    IDLE = 4506
    LIFETIME_OVER = 4507
    POSITION_LOST = 4510


class CloseInfo(NamedTuple):
    """What a close code tells the peer, and whether the peer should come back by itself, with backoff."""

    meaning: str
    reconnect: bool


CLOSES: Mapping[Close, CloseInfo] = MappingProxyType(
    {
        Close.NORMAL: CloseInfo("the work is done", False),
        Close.GOING_AWAY: CloseInfo("the server stops, or the page is left", True),
        Close.PROTOCOL_ERROR: CloseInfo("a frame broke the WebSocket protocol", False),
        Close.UNSUPPORTED_DATA: CloseInfo("a kind of data that the endpoint does not take", False),
        Close.NO_STATUS: CloseInfo("a Close without a code; never sent", False),
        Close.ABNORMAL: CloseInfo("the connection ended without a Close; never sent", True),
        Close.INVALID_DATA: CloseInfo("text that is not UTF-8, or a compressed message that is broken", False),
        Close.POLICY_VIOLATION: CloseInfo("a rule of the server was broken", False),
        Close.MESSAGE_TOO_BIG: CloseInfo("a message beyond the size limit", False),
        Close.MANDATORY_EXTENSION: CloseInfo("the client needs an extension that was not negotiated", False),
        Close.INTERNAL_ERROR: CloseInfo("the server met an unexpected condition", True),
        Close.SERVICE_RESTART: CloseInfo("the server restarts or sheds this connection", True),
        Close.TRY_AGAIN_LATER: CloseInfo("the server is full", True),
        Close.BAD_GATEWAY: CloseInfo("a gateway got no valid answer from the server behind it", False),
        Close.NOT_AUTHENTICATED: CloseInfo("not authenticated: bring a valid credential", False),
        Close.FORBIDDEN: CloseInfo("authenticated, or not asked to be, and not allowed here", False),
        Close.AUTHENTICATION_TIMEOUT: CloseInfo("too slow to authenticate", False),
        Close.SESSION_TAKEN_OVER: CloseInfo("the session went on in another connection", False),
        Close.REMOVED: CloseInfo("removed by the server", False),
        Close.ABUSE: CloseInfo("limits were broken again and again", False),
        Close.SLOW_CONSUMER: CloseInfo("the client reads too slowly", True),
        Close.HEARTBEAT_LOST: CloseInfo("no sign of life in time", True),
        Close.IDLE: CloseInfo("no message for too long: come back when there is something to say", True),
        Close.LIFETIME_OVER: CloseInfo("the connection is as old as one may be: come back", True),
        Close.POSITION_LOST: CloseInfo("the position in a topic was lost: come back and recover", True),
    }
)

_COME_BACK = range(4500, 4600)
_ON_THE_WIRE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_REASON_BYTES = 123


class CloseFault(Exception):
    """A Close frame's payload is wrong; `code` (1002 or 1007) is the close code that answers it."""

    def __init__(self, code: Close, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"{int(code)}: {reason}")


def may_receive(code: int) -> bool:
    """Whether a Close frame may carry this code (RFC 6455 §7.4 and the registry it opened).

    1004, 1005, 1006 and 1015 stand for things that happen without a code on the wire; 1016 to 2999 are kept
    for later versions of the protocol; 3000 to 4999 belong to libraries and applications.
    """
    return code in _ON_THE_WIRE or 3000 <= code <= 4999


def may_send(code: int) -> bool:
    """Whether this end may put the code in a Close frame; what may be received may also be echoed."""
    return may_receive(code)


def reconnects(code: int) -> bool:
    """Whether a client that sees this code should come back by itself, with backoff.

    Codes that the table does not know follow their range: 45xx come back, everything else does not.
    """
    info = CLOSES.get(Close(code)) if code in _KNOWN else None
    return info.reconnect if info is not None else code in _COME_BACK


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a Close frame: the code, then the reason cut to 123 bytes between two characters.

    1005 is spelled as the empty payload, which is what it stands for. Any other code that must not be on
    the wire is a `ValueError`.
    """
    if code == Close.NO_STATUS:
        return b""
    if not may_send(code):
        raise ValueError(f"expected a close code that may be sent (1000-1003, 1007-1014, 3000-4999), got {code}")
    text = reason.encode("utf-8", "replace")
    if len(text) > _REASON_BYTES:
        text = text[:_REASON_BYTES].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + text


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame's payload; `(1005, "")` when it is empty (RFC 6455 §5.5.1).

    Raises `CloseFault`: 1002 for half a code or a code that must not be on the wire, 1007 for a reason that
    is not UTF-8.
    """
    if not payload:
        return int(Close.NO_STATUS), ""
    if len(payload) < 2:
        raise CloseFault(Close.PROTOCOL_ERROR, "expected a close code of 2 bytes, got 1 byte")
    code = int.from_bytes(payload[:2], "big")
    if not may_receive(code):
        raise CloseFault(Close.PROTOCOL_ERROR, f"close code {code} must not be sent")
    try:
        return code, str(payload[2:], "utf-8")
    except UnicodeDecodeError:
        raise CloseFault(Close.INVALID_DATA, "the close reason is not UTF-8") from None


_KNOWN = frozenset(int(code) for code in Close)
