"""The opening handshake of RFC 6455, judged alike for every engine.

`read_request` (from `mycelia.protocol.http.request`) turns bytes into a `Handshake`, `check_upgrade` says whether
it may become a WebSocket, `origin_allowed` whether its page may ask for one, and `accept_response` writes
the 101. A refusal is a `BadHandshake` whose text names what was expected and shows nothing that was sent.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import sha1
from urllib.parse import unquote_to_bytes

from mycelia.protocol.http.credentials import (
    BEARER_PREFIX,
    Credentials,
    choose_subprotocol,
    credentials,
    public_view,
)
from mycelia.protocol.http.request import (
    HEAD_LIMIT_BYTES,
    HEADER_LIMIT,
    BadHandshake,
    Handshake,
    Headers,
    HttpReply,
    UpgradedHandshake,
    encode_headers,
    is_token,
    read_request,
    redact,
)

__all__ = [
    "HEADER_LIMIT",
    "HEAD_LIMIT_BYTES",
    "SUBPROTOCOL_LIMIT",
    "VERSION",
    "BadHandshake",
    "Credentials",
    "Handshake",
    "Headers",
    "HttpReply",
    "UpgradedHandshake",
    "accept_response",
    "check_origin_rule",
    "check_query",
    "check_subprotocols",
    "check_upgrade",
    "choose_subprotocol",
    "credentials",
    "host_allowed",
    "is_host_rule",
    "origin_allowed",
    "public_view",
    "read_request",
    "redact",
]

VERSION = "13"
SUBPROTOCOL_LIMIT = 32

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_UPGRADE = ("Upgrade", "websocket")
_VERSION_HEADER = ("Sec-WebSocket-Version", VERSION)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ENCRYPTED = frozenset({"https", "wss"})
# What the 101 says itself; a second value would make it mean something else to the client.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
        "upgrade",
    }
)


def check_upgrade(handshake: Handshake) -> None:
    """Raise BadHandshake unless this is the client's half of an RFC 6455 §4.1 handshake.

    Both the gate and the engine ask; the second time costs nothing.
    """
    if handshake._judged:
        return
    lines = handshake.headers.lines
    if handshake.method != "GET":
        raise BadHandshake(405, "expected GET for a WebSocket", (("Allow", "GET"),))
    if not _lists(lines("upgrade"), "websocket"):
        raise BadHandshake(426, "expected a WebSocket handshake: `Upgrade: websocket`", (_UPGRADE, _VERSION_HEADER))
    if not _lists(lines("connection"), "upgrade"):
        raise BadHandshake(
            426,
            "expected `Connection: Upgrade` beside `Upgrade: websocket`; a proxy may have removed it",
            (_UPGRADE, _VERSION_HEADER),
        )
    if lines("sec-websocket-version") != (VERSION,):
        raise BadHandshake(426, f"expected `Sec-WebSocket-Version: {VERSION}`", (_UPGRADE, _VERSION_HEADER))
    key = lines("sec-websocket-key")
    if len(key) != 1:
        raise BadHandshake(400, f"expected exactly one Sec-WebSocket-Key header, got {len(key)}")
    if not _is_key(key[0]):
        raise BadHandshake(400, "expected a Sec-WebSocket-Key that is 16 bytes in base64")
    object.__setattr__(handshake, "_judged", True)


def check_query(handshake: Handshake, most: int = 0) -> None:
    """Raise BadHandshake for a query that two readers could read differently, or with more than `most` parameters.

    Percent-encoding must be whole and, decoded, UTF-8 without control characters (RFC 3986 §2.1).
    """
    query = handshake.target.partition("?")[2]
    if most and query.count("&") >= most:
        raise BadHandshake(400, f"expected at most {most} parameters in the query")
    if "%" not in query:
        return
    if _BROKEN_ESCAPE(query):
        raise BadHandshake(400, "expected every % of the query before two hexadecimal digits")
    try:
        text = unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise BadHandshake(400, "expected a query that is UTF-8, percent-encoded") from None
    if _CONTROL(text):
        raise BadHandshake(400, "expected a query without control characters")


def check_subprotocols(handshake: Handshake) -> None:
    """Raise BadHandshake unless the offered subprotocols are distinct tokens, and not too many (RFC 6455 §4.1)."""
    offered = handshake.subprotocols
    if len(offered) > SUBPROTOCOL_LIMIT:
        raise BadHandshake(400, f"expected at most {SUBPROTOCOL_LIMIT} subprotocols, got {len(offered)}")
    if len(set(offered)) != len(offered) or not all(map(is_token, offered)):
        raise BadHandshake(400, "expected each subprotocol to be a token and to be offered once")


def accept_response(
    handshake: Handshake,
    subprotocol: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    extensions: str | None = None,
) -> bytes:
    """The finished 101 of RFC 6455 §4.2.2 for a handshake that passed `check_upgrade`.

    ValueError for a subprotocol that was not offered or carries a credential, and for a header that is the
    handshake's own or not well-formed: mistakes of this program, never of the peer.
    """
    digest = sha1((handshake.key or "").encode("latin-1") + _GUID, usedforsecurity=False).digest()
    extra = b""
    if subprotocol is not None:
        if subprotocol.startswith(BEARER_PREFIX) or subprotocol not in handshake.subprotocols:
            raise ValueError("expected a subprotocol that the client offered, and not its credential")
        extra = b"Sec-WebSocket-Protocol: %s\r\n" % subprotocol.encode("latin-1")
    if extensions is not None:
        extra += b"Sec-WebSocket-Extensions: %s\r\n" % extensions.encode("latin-1")
    if headers:
        own = [name for name, _ in headers if name.lower() in _OWN_HEADERS]
        if own:
            raise ValueError(f"header {own[0]!r}: the handshake sets it itself")
        extra += encode_headers(headers)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n%s\r\n" % (b64encode(digest), extra)
    )


def origin_allowed(handshake: Handshake, allow: Sequence[str] = (), require: bool = False) -> bool:
    """Whether the page that opened the connection may (the browser names it in Origin, RFC 6455 §10.2).

    Absent: allowed unless `require`, because only browsers send it. Present: its host and port equal those
    of Host, and of a client that speaks TLS its scheme does too (RFC 6454 §4), or `allow` lists it:
    `https://app.example.org`, `https://*.example.org` (subdomains of any depth) or `*` (every page). `null` stands
    for pages whose origin is hidden: only `null` itself lists it.
    """
    lines = handshake.headers.lines("origin")
    if not lines:
        return not require
    if len(lines) != 1:
        return False
    if lines[0] == "null":
        return "null" in allow
    origin = _split_origin(lines[0])
    if origin is None:
        return False
    return "*" in allow or _same_host(handshake, origin) or any(_matches(origin, rule) for rule in allow)


def check_origin_rule(rule: str) -> None:
    """Raise ValueError for a rule of `origin_allowed` that no origin could match."""
    scheme, mark, rest = rule.partition("://")
    name = rest[2:] if rest.startswith("*.") else rest
    if rule in ("*", "null") or (mark and "*" not in scheme and _split_origin(f"{scheme}://{name}") is not None):
        return
    raise ValueError(f"expected 'https://example.org', 'https://*.example.org', 'null' or '*', got {rule!r}")


def is_host_rule(rule: str) -> bool:
    """Whether `host_allowed` can use this rule."""
    return _split_host(rule.removeprefix("*.")) is not None


def host_allowed(handshake: Handshake, allow: Sequence[str]) -> bool:
    """Whether the name that the client believes to talk to is one of ours: the defence against DNS rebinding.

    `example.org` allows that name on any port, `example.org:8443` on this one only, `*.example.org` its subdomains.
    """
    host = _split_host(handshake.host or "")
    return host is not None and any(_is_host(host, rule) for rule in allow)


def _is_host(host: tuple[str, int | None], rule: str) -> bool:
    wanted = _split_host(rule.removeprefix("*."))
    if wanted is None or (wanted[1] is not None and wanted[1] != host[1]):
        return False
    return host[0].endswith(f".{wanted[0]}") if rule.startswith("*.") else host[0] == wanted[0]


def _lists(lines: tuple[str, ...], wanted: str) -> bool:
    joined = ",".join(lines).lower()
    return joined == wanted or wanted in [item.strip(" \t") for item in joined.split(",")]


def _is_key(text: str) -> bool:
    try:
        return len(text) == 24 and len(a2b_base64(text, strict_mode=True)) == 16
    except (Base64Error, ValueError):
        return False


def _same_host(handshake: Handshake, origin: tuple[str, str, int | None]) -> bool:
    scheme, name, port = origin
    host = _split_host(handshake.host or "")
    if host is None or scheme not in _DEFAULT_PORTS or (handshake.secure and scheme not in _ENCRYPTED):
        return False  # anybody on the way may have written a page that came in plain text
    # Behind a proxy that ends TLS, a Host without a port stands for either default port: the origin's.
    return (name, port) == (host[0], host[1] or _DEFAULT_PORTS[scheme])


def _matches(origin: tuple[str, str, int | None], rule: str) -> bool:
    scheme, mark, rest = rule.partition("://")
    if not rest.startswith("*."):
        return _split_origin(rule) == origin
    parent = _split_origin(f"{scheme}{mark}{rest[2:]}")
    if parent is None:
        return False
    return (origin[0], origin[2]) == (parent[0], parent[2]) and origin[1].endswith(f".{parent[1]}")


def _split_origin(text: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port in lower case; the port is the scheme's default or None where it has none."""
    scheme, mark, rest = text.lower().partition("://")
    host = _split_host(rest)
    if not mark or not scheme or host is None:
        return None
    return scheme, host[0], host[1] or _DEFAULT_PORTS.get(scheme)


def _split_host(text: str) -> tuple[str, int | None] | None:
    """Host and port of `example.org`, `example.org:8080` or `[::1]:8080`; None for anything else."""
    name, digits = text.lower(), ""
    if ":" in name and not name.endswith("]"):
        name, _, digits = name.rpartition(":")
        if not (len(digits) <= 5 and digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
            return None
    bracketed = name.startswith("[") and name.endswith("]")
    if not name or (":" in name and not bracketed) or any(sign in name for sign in "/?#@ ,*\\"):
        return None
    return name, int(digits) if digits else None
