"""Where a handshake carries credentials, and a view of it without them.

A token may come as `Authorization: Bearer …`, as `?token=…`, or as an offered subprotocol
`mycelia.bearer.<base64url of the token>`, which is how a browser can send one outside the URL. The token
leaves this module once, as `token`; nothing else that is returned here contains it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_plus

from mycelia.protocol.http.request import BadHandshake, Handshake, is_token, redact

__all__ = [
    "BEARER_PREFIX",
    "Credentials",
    "Source",
    "bearer",
    "choose_subprotocol",
    "cookies",
    "credentials",
    "public_view",
]

BEARER_PREFIX = "mycelia.bearer."
Source = Literal["authorization", "query", "subprotocol"]

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The token of a handshake and where it was found; both None when there is none that can be read."""

    token: str | None = field(default=None, repr=False)
    source: Source | None = None


def choose_subprotocol(offered: Sequence[str], known: Sequence[str]) -> str | None:
    """The first offered subprotocol that is known; None when nothing was offered.

    Raises BadHandshake (400) when something was offered and none of it is known, and for a bearer
    subprotocol that is alone, repeated or not base64url. A bearer subprotocol is never chosen.
    """
    if not offered:
        return None
    bearers = [name for name in offered if name.startswith(BEARER_PREFIX)]
    chosen = next((name for name in offered if name in known and name not in bearers), None)
    if bearers:
        if len(bearers) > 1 or _decode_bearer(bearers[0]) is None:
            raise BadHandshake(400, f"expected one {BEARER_PREFIX}<token>, its token as base64url without padding")
        if len(bearers) == len(offered):
            choice = " or ".join(known) or "none is configured"
            raise BadHandshake(400, f"expected a subprotocol beside {BEARER_PREFIX}*, which is none: {choice}")
    if chosen is None or not is_token(chosen):
        choice = ", ".join(known) or "none, so offer none"
        raise BadHandshake(400, f"none of the offered subprotocols is known here; known: {choice}")
    return chosen


def credentials(handshake: Handshake) -> Credentials:
    """The peer's token. Never raises: what cannot be read is no credential.

    Authorization wins over a subprotocol, and both win over the URL, which somebody else may have written.
    """
    if (token := bearer(handshake)) is not None:
        return Credentials(token, "authorization")
    for name in handshake.subprotocols:
        if name.startswith(BEARER_PREFIX) and (decoded := _decode_bearer(name)):
            return Credentials(decoded, "subprotocol")
    if "?" in handshake.target and (given := handshake.query.get("token")):
        return Credentials(given, "query")
    return Credentials()


def bearer(handshake: Handshake) -> str | None:
    """The token of `Authorization: Bearer …` (RFC 6750 §2.1), of the one such header that there may be."""
    lines = handshake.headers.lines("authorization")
    if len(lines) != 1:
        return None
    scheme, _, token = lines[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def cookies(handshake: Handshake) -> Mapping[str, str]:
    """The cookies by name (RFC 6265 §4.2.1), those left out that come more than once with different values.

    Which of two is meant nobody can tell: a subdomain may have set the other. Whether cookies count at all is for the
    caller to say, by the Origin.
    """
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    for line in handshake.headers.lines("cookie"):
        for part in line.split(";"):
            name, mark, value = part.strip(" \t").partition("=")
            if not mark or not name:
                continue
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if found.setdefault(name, value) != value:
                doubtful.add(name)
    return {name: value for name, value in found.items() if name not in doubtful}


def public_view(handshake: Handshake) -> dict[str, object]:
    """The body of the `connect` message: `token`, and the handshake without it, cookies or authorization.

    `auth` is there where the protocol lets clients bring more than HTTP does, as Socket.IO; its token is taken out.
    """
    remote = handshake.remote
    return {
        "token": credentials(handshake).token,
        "query": {name: value for name, value in handshake.query.items() if name != "token"},
        "headers": _public_headers(handshake),
        "remoteAddress": remote[0] if remote else None,
        "url": _without_token(handshake.target),
        **({} if handshake.auth is None else {"auth": handshake.auth}),
    }


def _public_headers(handshake: Handshake) -> dict[str, str]:
    """Lower-case names; several lines of one name joined by a comma, as RFC 9110 §5.3 allows."""
    shown: dict[str, str] = {}
    for name, value in handshake.headers.items():
        low = name.lower()
        if low in _SECRET_HEADERS:
            continue
        if low == "sec-websocket-protocol":
            parts = (part.strip(" \t") for part in value.split(","))
            value = ", ".join(part for part in parts if part and not part.startswith(BEARER_PREFIX))
            if not value:
                continue
        elif "?" in value:
            value = redact(value)  # proxies pass the original URL on in headers of their own
        shown[low] = f"{shown[low]}, {value}" if low in shown else value
    return shown


def _without_token(target: str) -> str:
    path, mark, query = target.partition("?")
    if not mark:
        return target
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != "token"]
    return f"{path}?{'&'.join(kept)}" if kept else path


def _decode_bearer(name: str) -> str | None:
    raw = name[len(BEARER_PREFIX) :].encode("latin-1", "replace")
    if not raw or raw.translate(None, _BASE64URL) or len(raw) % 4 == 1:
        return None
    try:
        return urlsafe_b64decode(raw + b"=" * (-len(raw) % 4)).decode()
    except UnicodeDecodeError:
        return None
