"""Rules for the Origin and Host headers and for the query of a request.

The rules protect against pages of other sites (RFC 6455 §10.2), DNS rebinding, and requests that two readers parse
differently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from mycelia.protocol.http.request import BadHandshake, Handshake

__all__ = ["check_origin_rule", "check_query", "host_allowed", "is_host_rule", "origin_allowed"]

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ENCRYPTED = frozenset({"https", "wss"})
_Authority = tuple[str, int | None]  # host and port
_Origin = tuple[str, str, int | None]  # scheme, host and port


def origin_allowed(request: Handshake, allow: Sequence[str] = (), require: bool = False) -> bool:
    """Return True if the page that sent the request may do so. The browser names the page in the Origin header.

    A request without Origin is allowed unless `require` is True, because only browsers send the header. An Origin is
    allowed if its host and port equal those of the Host header. If the client uses TLS, the scheme must be encrypted
    too (RFC 6454 §4). Any other Origin must match a rule.

    Args:
        request: The request.
        allow: The rules: `https://app.example.org`, `https://*.example.org` (subdomains of any depth), `*` (every page)
            or `null` (pages whose origin is hidden; `*` does not include them).
        require: True to reject requests without Origin.
    """
    lines = request.headers.lines("origin")
    if not lines:
        return not require
    if len(lines) != 1:
        return False
    if lines[0] == "null":
        return "null" in allow
    origin = _split_origin(lines[0])
    if origin is None:
        return False
    return "*" in allow or _is_same_host(request, origin) or any(_matches(origin, rule) for rule in allow)


def check_origin_rule(rule: str) -> None:
    """Raise ValueError for a rule of `origin_allowed` that no origin can match."""
    scheme, mark, rest = rule.partition("://")
    name = rest[2:] if rest.startswith("*.") else rest
    if rule in ("*", "null") or (mark and "*" not in scheme and _split_origin(f"{scheme}://{name}") is not None):
        return
    raise ValueError(f"expected 'https://example.org', 'https://*.example.org', 'null' or '*', got {rule!r}")


def is_host_rule(rule: str) -> bool:
    """Return True if `host_allowed` can use a rule."""
    return _split_host(rule.removeprefix("*.")) is not None


def host_allowed(request: Handshake, allow: Sequence[str]) -> bool:
    """Return True if the Host header matches a rule. This is the defence against DNS rebinding.

    Args:
        request: The request.
        allow: The rules: `example.org` allows this name on any port, `example.org:8443` on this port only, and
            `*.example.org` its subdomains.
    """
    host = _split_host(request.host or "")
    return host is not None and any(_host_matches(host, rule) for rule in allow)


def check_query(request: Handshake, most: int = 0) -> None:
    """Raise BadHandshake for an ambiguous query.

    Percent-encoding must be complete. Decoded, the query must be UTF-8 without control characters (RFC 3986 §2.1).

    Args:
        request: The request.
        most: The largest allowed number of parameters; 0 for no limit.
    """
    query = request.target.partition("?")[2]
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


def _host_matches(host: _Authority, rule: str) -> bool:
    wanted = _split_host(rule.removeprefix("*."))
    if wanted is None or (wanted[1] is not None and wanted[1] != host[1]):
        return False
    return host[0].endswith(f".{wanted[0]}") if rule.startswith("*.") else host[0] == wanted[0]


def _is_same_host(request: Handshake, origin: _Origin) -> bool:
    scheme, name, port = origin
    host = _split_host(request.host or "")
    if host is None or scheme not in _DEFAULT_PORTS or (request.secure and scheme not in _ENCRYPTED):
        return False  # an attacker on the network can change a page that was loaded without TLS
    # Behind a proxy that terminates TLS, a Host without a port stands for the origin's default port.
    return (name, port) == (host[0], host[1] or _DEFAULT_PORTS[scheme])


def _matches(origin: _Origin, rule: str) -> bool:
    scheme, mark, rest = rule.partition("://")
    if not rest.startswith("*."):
        return _split_origin(rule) == origin
    parent = _split_origin(f"{scheme}{mark}{rest[2:]}")
    if parent is None:
        return False
    return (origin[0], origin[2]) == (parent[0], parent[2]) and origin[1].endswith(f".{parent[1]}")


def _split_origin(text: str) -> _Origin | None:
    """Return scheme, host and port in lower case. A missing port is the scheme's default port, if it has one."""
    scheme, mark, rest = text.lower().partition("://")
    host = _split_host(rest)
    if not mark or not scheme or host is None:
        return None
    return scheme, host[0], host[1] or _DEFAULT_PORTS.get(scheme)


def _split_host(text: str) -> _Authority | None:
    """Return host and port of `example.org`, `example.org:8080` or `[::1]:8080`; None for anything else."""
    name, digits = text.lower(), ""
    if ":" in name and not name.endswith("]"):
        name, _, digits = name.rpartition(":")
        if not (len(digits) <= 5 and digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
            return None
    bracketed = name.startswith("[") and name.endswith("]")
    if not name or (":" in name and not bracketed) or any(sign in name for sign in "/?#@ ,*\\"):
        return None
    return name, int(digits) if digits else None
