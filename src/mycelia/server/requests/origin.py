"""Which page a browser asks for: what pages of other origins may do here, and whether cookies count.

A browser sends a request and its cookies for whichever page asks it to. So cookies count for our own pages and for
those that the allow-list names, and a page that it does not name can change nothing, whoever it shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from mycelia.auth.credential_check import cookie_origins
from mycelia.protocol.ws.handshake import Handshake, origin_allowed
from mycelia.server.requests.reply import Header, Reply
from mycelia.server.requests.router import SAFE

__all__ = ["Origins"]

_READABLE = "X-Trace-Id, Retry-After"
_SENDABLE = "Authorization, Content-Type, Traceparent, X-Trace-Id"


class Origins:
    """The rules of `server.allowed_origins` (CSRF: OWASP's; CORS: the Fetch standard's §3.2)."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = allowed
        self._trusted = cookie_origins(allowed)

    def forbids(self, request: Handshake) -> bool:
        """Whether a page asks for a change that it may not make here."""
        return request.method not in SAFE and not origin_allowed(request, self._allowed)

    def lets_cookies(self, request: Handshake) -> bool:
        """Whether the cookies of a request count.

        For a change its Origin must be there and be ours, or listed by name. To read, an Origin may be missing, since
        browsers do not send it to their own; then `Sec-Fetch-Site`, where they send that, must not name another site.
        """
        if request.method not in SAFE or request.headers.lines("origin"):
            return origin_allowed(request, self._trusted, require=True)
        site = request.headers.lines("sec-fetch-site")
        return not site or site in (("same-origin",), ("none",))

    def headers(self, request: Handshake) -> tuple[Header, ...]:
        """What lets a page of a listed origin read the answer."""
        lines = request.headers.lines("origin")
        if not self._allowed or not lines:
            return (("vary", "Origin"),) if self._allowed else ()
        if not _listed(request, self._allowed):
            return (("vary", "Origin"),)
        shown: list[Header] = [("access-control-allow-origin", lines[0]), ("vary", "Origin")]
        if _listed(request, self._trusted):
            shown.append(("access-control-allow-credentials", "true"))
        return (*shown, ("access-control-expose-headers", _READABLE))

    def options(self, request: Handshake, methods: Sequence[str]) -> Reply:
        """The answer to OPTIONS, also to that of a browser which asks whether a page may ask."""
        allowed = ", ".join(methods)
        headers: tuple[Header, ...] = (("allow", allowed),)
        if request.headers.lines("access-control-request-method") and _listed(request, self._allowed):
            headers += (
                ("access-control-allow-methods", allowed),
                ("access-control-allow-headers", _SENDABLE),
                ("access-control-max-age", "600"),
            )
        return Reply(204, b"", headers)


def _listed(request: Handshake, rules: Sequence[str]) -> bool:
    return bool(rules) and bool(request.headers.lines("origin")) and origin_allowed(request, rules)
