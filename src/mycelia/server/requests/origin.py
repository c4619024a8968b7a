"""Origins of HTTP requests: which pages may change state, when cookies count, and CORS headers.

A browser sends a request with its cookies for every page that asks it to. Cookies therefore count only for pages of
this server and of listed origins. A page of another origin cannot change anything, whatever credential it sends.
"""

from __future__ import annotations

from collections.abc import Sequence

from mycelia.errors import Forbidden
from mycelia.net.peer_rules import cookie_origins
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake
from mycelia.server.response import Header, HttpResponse
from mycelia.server.router import SAFE_METHODS

__all__ = ["OriginRules"]

_READABLE = "X-Trace-Id, Retry-After"
_SENDABLE = "Authorization, Content-Type, Traceparent, X-Trace-Id"
_PREFLIGHT_SECONDS = "600"


class OriginRules:
    """The rules of `server.allowed_origins` (CSRF: OWASP's rules; CORS: §3.2 of the Fetch standard)."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = allowed
        self._trusted = cookie_origins(allowed)

    def check(self, request: Handshake) -> None:
        """Raise Forbidden if a page of an origin that is not allowed requests a change."""
        if request.method not in SAFE_METHODS and not origin_allowed(request, self._allowed):
            raise Forbidden("a page of another origin requests a change; see server.allowedOrigins")

    def cookies_count(self, request: Handshake) -> bool:
        """Return True if the cookies of a request count.

        A request for a change needs an Origin, of this server or listed by name. Browsers omit the Origin when a page
        reads from its own server. `Sec-Fetch-Site`, if present, must then not name another site.
        """
        if request.method not in SAFE_METHODS or request.headers.lines("origin"):
            return origin_allowed(request, self._trusted, require=True)
        site = request.headers.lines("sec-fetch-site")
        return not site or site in (("same-origin",), ("none",))

    def headers(self, request: Handshake) -> tuple[Header, ...]:
        """Return the CORS headers that let a page of a listed origin read the response."""
        lines = request.headers.lines("origin")
        if not self._allowed or not lines:
            return (("vary", "Origin"),) if self._allowed else ()
        if not _is_listed(request, self._allowed):
            return (("vary", "Origin"),)
        shown: list[Header] = [("access-control-allow-origin", lines[0]), ("vary", "Origin")]
        if _is_listed(request, self._trusted):
            shown.append(("access-control-allow-credentials", "true"))
        return (*shown, ("access-control-expose-headers", _READABLE))

    def options(self, request: Handshake, methods: Sequence[str]) -> HttpResponse:
        """Return the response to OPTIONS, also to the CORS preflight of a browser."""
        allowed = ", ".join(methods)
        headers: tuple[Header, ...] = (("allow", allowed),)
        if request.headers.lines("access-control-request-method") and _is_listed(request, self._allowed):
            headers += (
                ("access-control-allow-methods", allowed),
                ("access-control-allow-headers", _SENDABLE),
                ("access-control-max-age", _PREFLIGHT_SECONDS),
            )
        return HttpResponse(204, b"", headers)


def _is_listed(request: Handshake, rules: Sequence[str]) -> bool:
    return bool(rules) and bool(request.headers.lines("origin")) and origin_allowed(request, rules)
