"""Engine.IO requests: which ones a server can serve, and the error responses for the others."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["TRANSPORTS", "VERSION", "ErrorResponse", "check_request"]

VERSION: Final = "4"
TRANSPORTS: Final = ("polling", "websocket")


class ErrorResponse(Enum):
    """An error response of the protocol: the HTTP status, and the code and message that clients read in its body."""

    UNKNOWN_TRANSPORT = (400, 0, "Transport unknown")
    UNKNOWN_SESSION = (400, 1, "Session ID unknown")
    BAD_METHOD = (400, 2, "Bad handshake method")
    BAD_REQUEST = (400, 3, "Bad request")
    FORBIDDEN = (403, 4, "Forbidden")
    UNSUPPORTED_VERSION = (400, 5, "Unsupported protocol version")
    TOO_LARGE = (413, 3, "Payload too large")

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> bytes:
        """The JSON body of the response."""
        return b'{"code":%d,"message":"%b"}' % (self.code, self.message.encode())


def check_request(method: str, query: Mapping[str, str], upgrade: bool, known: bool) -> ErrorResponse | None:
    """Return the error response for a request that cannot be served, or None.

    Checks what does not depend on the state of a session; `Session` checks the rest.

    Args:
        method: The HTTP method.
        query: The parameters of the query.
        upgrade: True if the request asks for a WebSocket.
        known: True if a session has the `sid` of the query.
    """
    transport = query.get("transport")
    if transport not in TRANSPORTS:
        return ErrorResponse.UNKNOWN_TRANSPORT
    if query.get("EIO") != VERSION:
        return ErrorResponse.UNSUPPORTED_VERSION
    if "sid" in query:
        if not known:
            return ErrorResponse.UNKNOWN_SESSION
        if method not in ("GET", "POST"):
            return ErrorResponse.BAD_REQUEST
    elif method != "GET":
        return ErrorResponse.BAD_METHOD
    if upgrade is not (transport == "websocket") or (upgrade and method != "GET"):
        return ErrorResponse.BAD_REQUEST
    return None
