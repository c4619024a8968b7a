"""What pages of other origins may do with an Engine.IO endpoint, in the words of CORS (the Fetch standard, §3.2).

The gate's rule decides whether a page may come at all; whoever asks for headers here has asked that first.
"""

from __future__ import annotations

from mycelia.auth.credential_check import cookie_origins
from mycelia.protocol.http.session_request import sent_headers
from mycelia.protocol.ws.handshake import Handshake, HttpReply, origin_allowed
from mycelia.transports.engine_options import EngineOptions

__all__ = ["Cors"]

HeaderLines = tuple[tuple[str, str], ...]

_VARY = ("Vary", "Origin")


class Cors:
    """The answers of one endpoint. Cookies and the like count for origins that are named, not for `*` and `null`."""

    def __init__(self, options: EngineOptions) -> None:
        self._trusted = cookie_origins(options.allowed_origins)

    def headers(self, request: Handshake) -> HeaderLines:
        """What lets the page that asked read the answer; it must be one that may come."""
        origin = request.headers.get("origin")
        if origin is None:
            return (_VARY,)
        allowed = ("Access-Control-Allow-Origin", origin)
        if not origin_allowed(request, self._trusted):
            return (allowed, _VARY)
        return (allowed, ("Access-Control-Allow-Credentials", "true"), _VARY)

    def preflight(self, request: Handshake) -> HttpReply:
        """The answer to a browser that asks whether a page may ask."""
        methods, lasting = ("Access-Control-Allow-Methods", "GET, POST"), ("Access-Control-Max-Age", "600")
        return HttpReply(204, b"", (*self.headers(request), methods, lasting, *sent_headers(request)))
