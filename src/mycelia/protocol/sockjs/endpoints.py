"""The URLs of a SockJS endpoint, and what is answered without a session: greeting, info, iframe, preflights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from html import escape
from typing import Final

from msgspec import json

from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.http.session_request import sent_headers
from mycelia.protocol.sockjs.response_formats import RECEIVING, SENDING

__all__ = [
    "COOKIE",
    "GREETING",
    "UNCACHED",
    "Kind",
    "Target",
    "cors",
    "find",
    "framing",
    "iframe",
    "info",
    "not_allowed",
    "preflight",
    "sticky",
]

_PLAIN: Final = "text/plain; charset=UTF-8"
_YEAR: Final = 31_536_000  # seconds
_CACHED: Final = (
    ("Cache-Control", f"public, max-age={_YEAR}"),
    ("Expires", "Thu, 31 Dec 2099 23:59:59 GMT"),
)
UNCACHED: Final = (("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0"),)
GREETING: Final = HttpReply(200, b"Welcome to SockJS!\n", (), _PLAIN)
COOKIE: Final = "JSESSIONID"

_IFRAME: Final = re.compile(r"/iframe[0-9a-z_.-]*\.html")
_SESSION: Final = re.compile(r"/[^/.]{1,128}/([^/.]{1,128})/([a-z_]+)")
_COOKIE_VALUE: Final = re.compile(r"[A-Za-z0-9!#$%&'()*+./:<=>?@\[\]^_`{|}~-]{1,256}")
_PAGE: Final = """<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="%s"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""


class Kind(Enum):
    """What is at a URL."""

    GREETING = "greeting"
    INFO = "info"
    IFRAME = "iframe"
    RAW = "a WebSocket without frames of SockJS"
    WEBSOCKET = "a WebSocket"
    RECEIVE = "a request that receives"
    SEND = "a request that sends"


_METHODS: Final = {
    Kind.INFO: ("OPTIONS", "GET", "HEAD"),
    Kind.SEND: ("OPTIONS", "POST"),
    Kind.WEBSOCKET: ("GET",),
    Kind.RAW: ("GET",),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path means; session and transport only where it has them."""

    kind: Kind
    session: str = ""
    transport: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it takes."""
        if self.kind is Kind.RECEIVE:
            return "OPTIONS", RECEIVING[self.transport]
        return _METHODS.get(self.kind, ("GET", "HEAD"))


def find(path: str) -> Target | None:
    """What there is at a path below the endpoint's own; the server part of a session's URL means nothing to us."""
    if path in ("", "/"):
        return Target(Kind.GREETING)
    if path == "/info":
        return Target(Kind.INFO)
    if path == "/websocket":
        return Target(Kind.RAW)
    if _IFRAME.fullmatch(path):
        return Target(Kind.IFRAME)
    found = _SESSION.fullmatch(path)
    if found is None:
        return None
    session, transport = found.groups()
    if transport == "websocket":
        return Target(Kind.WEBSOCKET, session, transport)
    if transport in SENDING:
        return Target(Kind.SEND, session, transport)
    return Target(Kind.RECEIVE, session, transport) if transport in RECEIVING else None


# -- answers -----------------------------------------------------------------------------------------------


def not_allowed(target: Target) -> HttpReply:
    """The answer to a method that is none of the target's."""
    return HttpReply(405, b"", (("Allow", ", ".join(target.methods)),))


def info(websocket: bool, cookie: bool, entropy: int, request: Handshake) -> HttpReply:
    """What clients ask first; `entropy` is a random number below 2³²."""
    told = {"websocket": websocket, "origins": ["*:*"], "cookie_needed": cookie, "entropy": entropy}
    return HttpReply(200, json.encode(told), (*UNCACHED, *cors(request)), "application/json; charset=UTF-8")


def preflight(target: Target, request: Handshake) -> HttpReply:
    """The answer to OPTIONS. Whoever may not come must not get it."""
    headers = (
        *_CACHED,
        *cors(request),
        ("Access-Control-Allow-Methods", ", ".join(target.methods)),
        ("Access-Control-Max-Age", str(_YEAR)),
        *sent_headers(request),
    )
    return HttpReply(204, b"", headers)


def iframe(client_url: str, origins: Sequence[str], request: Handshake) -> HttpReply:
    """The page through which other pages use transports of this origin: `origins` may, besides this one itself.

    It does what the page around it says, in our own name, so browsers must not show it in any other page.
    """
    body = (_PAGE % escape(client_url)).encode()
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = (*_CACHED, ("ETag", tag), framing(origins))
    if tag in (each.strip() for each in (request.headers.get("if-none-match") or "").split(",")):
        return HttpReply(304, b"", headers)
    return HttpReply(200, body, headers, "text/html; charset=UTF-8")


def framing(origins: Sequence[str]) -> tuple[str, str]:
    """The header that says which pages may show ours (CSP Level 3, `frame-ancestors`)."""
    named = [rule for rule in origins if rule not in ("*", "null")]
    return ("Content-Security-Policy", " ".join(["frame-ancestors 'self'", *named]))


def cors(request: Handshake) -> tuple[tuple[str, str], ...]:
    """What lets the page that asked read the answer. Whoever may not come must not get it.

    Its credentials are always allowed, for `sockjs-client` asks with them; for whom they count is another question.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return (("Vary", "Origin"),)
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )


def sticky(request: Handshake) -> tuple[str, str]:
    """The cookie by which load balancers find the server again: as it came, or a first one.

    To requests of other sites' pages browsers add it only if it says `SameSite=None`, which it may over TLS alone
    (RFC 6265bis §5.7); it is no secret and gives nobody rights. Over plain HTTP it is what every SockJS server sends.
    """
    value = "dummy"
    for line in request.headers.lines("cookie"):
        for each in line.split(";"):
            name, _, given = each.strip().partition("=")
            if name == COOKIE and _COOKIE_VALUE.fullmatch(given):
                value = given
    anywhere = "; SameSite=None; Secure" if request.secure else ""
    return ("Set-Cookie", f"{COOKIE}={value}; Path=/{anywhere}")
