"""A plain request of a session that does without a WebSocket, judged by the rules for those.

Browsers name the page behind a handshake, but not behind every plain request; and what a session over HTTP asks of the
gate is what a handshake asks, so it gets the shape of one.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from mycelia.protocol.http.request import Handshake, Headers, UpgradedHandshake

__all__ = ["as_handshake", "sent_headers", "with_origin", "without_offers"]

_OFFERS: Final = frozenset({"upgrade", "sec-websocket-protocol", "sec-websocket-extensions"})
_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9_, -]{1,1024}")


def with_origin(request: Handshake, script: bool = False) -> Handshake:
    """The request with the origin of the page that makes it, where a browser names that in other ways than by Origin.

    Scripts, frames and GETs to one's own origin go out without Origin; their Sec-Fetch-Site says what they are (Fetch
    Metadata §2.3), and no page can set that. Browsers do not say it over plain HTTP, where Referer is all there is. A
    page of which no more is known counts as `null`, and so does whoever asks for a `script`, which only pages do.
    """
    site, referer = request.headers.get("sec-fetch-site"), request.headers.get("referer")
    told = site in ("same-origin", "same-site", "cross-site") or (site is None and (script or referer is not None))
    if request.headers.lines("origin") or not told:
        return request
    # As https:// it has the port of Host, or none, whether or not a proxy before us ends TLS.
    origin = f"https://{request.host}" if site == "same-origin" else _origin_of(referer)
    headers = Headers((*request.headers.items(), ("origin", origin)))
    return Handshake(request.method, request.target, headers, request.remote, request.secure)


def _origin_of(url: str | None) -> str:
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else "null"


def as_handshake(request: Handshake, target: str, *more: tuple[str, str]) -> UpgradedHandshake:
    """The request as if it had asked for a WebSocket at `target`; `more` header lines stand for its own offers."""
    lines = (*without_offers(request.headers).items(), ("upgrade", "websocket"), *more)
    return UpgradedHandshake("GET", target, Headers(lines), request.remote, request.secure)


def without_offers(headers: Headers) -> Headers:
    """The headers without offers that only a client whose language is its own to choose can make."""
    return Headers((name, value) for name, value in headers.items() if name.lower() not in _OFFERS)


def sent_headers(request: Handshake) -> tuple[tuple[str, str], ...]:
    """What lets a page send the headers that its preflight names; nothing where those are no names (CORS)."""
    asked = request.headers.get("access-control-request-headers") or ""
    return (("Access-Control-Allow-Headers", asked),) if _HEADER_NAMES.fullmatch(asked) else ()
