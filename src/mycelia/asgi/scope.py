"""What an ASGI server says of a request, as a Handshake, and our HTTP answers in its words (ASGI 3.0).

The server has read the request: what it refuses we never see, and the headers of the upgrade may be gone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from mycelia.errors import InvalidPath
from mycelia.protocol.http.request import (
    HEAD_LIMIT_BYTES,
    HEADER_LIMIT,
    BadHandshake,
    Handshake,
    Headers,
    HttpReply,
    UpgradedHandshake,
)

__all__ = [
    "NOT_SERVING",
    "Event",
    "Receive",
    "Scope",
    "Send",
    "answer",
    "checked_path",
    "encoded",
    "parting",
    "path_below_root",
    "path_of",
    "read_scope",
    "refuse",
]

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


NOT_SERVING = HttpReply(503, b"not serving\n", (("Retry-After", "5"),))
"""What everybody hears until who answers here is started, and after it has stopped."""

DENIAL = "websocket.http.response"  # the extension by which a handshake is refused with an answer of our own

_PATH = "/:@!$&'()*+,;=-._~"  # what a path shows as it is (RFC 3986 §3.3)
_AMBIGUOUS = re.compile(rb"%(?:2[Ff]|5[Cc]|00|(?![0-9A-Fa-f]{2}))")
_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


def path_below_root(scope: Mapping[str, Any]) -> str:
    """Return the decoded path below the mount: `path` without `root_path` (ASGI). It may be empty.

    It comes from the decoded path, because the server or framework that routed the request to us used that path.
    """
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the path below the mount, percent-encoded in one way only; never empty."""
    return encoded(path_below_root(scope)) or "/"


def encoded(path: str) -> str:
    """Return a decoded path in the one encoding that `path_of` returns."""
    return quote(path, safe=_PATH)


def checked_path(scope: Mapping[str, Any]) -> str:
    """Return the decoded path below the mount; never empty.

    Escapes must be complete and UTF-8, and must not stand for a character that separates or ends a path. Proxies
    interpret such escapes differently.

    Raises:
        InvalidPath: The path has more than one interpretation, as far as the server passes on the raw path.
    """
    raw, path = scope.get("raw_path"), path_below_root(scope) or "/"
    if isinstance(raw, bytes):
        if _AMBIGUOUS.search(raw):
            raise InvalidPath(path, "expected whole escapes, and none of '/', '\\' or NUL")
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            raise InvalidPath(path, "expected a path that is UTF-8, percent-encoded") from None
    if "\0" in path or "\\" in path:
        raise InvalidPath(path, "expected a path without a backslash or NUL")
    return path


def read_scope(scope: Mapping[str, Any], path: str | None = None) -> Handshake:
    """The handshake that the server read; `path` stands for that of the scope. Raises BadHandshake.

    Of a WebSocket the upgrade counts as judged. A plain request never looks like one, whatever its headers say.
    """
    try:
        query = bytes(scope.get("query_string") or b"").decode("ascii")
    except UnicodeDecodeError:
        raise BadHandshake(400, "expected a target in ASCII, percent-encoded and without a fragment") from None
    lines = [
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in scope.get("headers") or ()
    ]
    _check_head(lines, scope["type"] == "websocket")
    target = path_of(scope) if path is None else path
    if query:
        target = f"{target}?{query}"
    remote, secure = _remote(scope.get("client")), scope.get("scheme") in ("https", "wss")
    if scope["type"] != "websocket":
        kept = [(name, value) for name, value in lines if name.lower() != "upgrade"]
        return Handshake(str(scope["method"]), target, Headers(kept), remote, secure)
    present = {name.lower() for name, _ in lines}
    offered = list(scope.get("subprotocols") or ())
    if offered and "sec-websocket-protocol" not in present:
        lines.append(("sec-websocket-protocol", ", ".join(offered)))
    if "upgrade" not in present:
        lines.append(("upgrade", "websocket"))
    return UpgradedHandshake("GET", target, Headers(lines), remote, secure)


def _check_head(lines: Sequence[tuple[str, str]], named: bool) -> None:
    """The bounds of `read_request`; servers take more, and a second Host. Of HTTP/1.0 it may be missing."""
    if len(lines) > HEADER_LIMIT:
        raise BadHandshake(431, f"expected at most {HEADER_LIMIT} header lines, got {len(lines)}")
    if sum(len(name) + len(value) for name, value in lines) > HEAD_LIMIT_BYTES:
        raise BadHandshake(431, f"expected a request head of at most {HEAD_LIMIT_BYTES} bytes")
    hosts = [value for name, value in lines if name.lower() == "host"]
    if len(hosts) > 1 or (named and not any(hosts)):
        raise BadHandshake(400, f"expected exactly one Host header and a value in it, got {len(hosts)}")


async def refuse(scope: Mapping[str, Any], send: Send, reply: HttpReply) -> None:
    """Refuses a WebSocket: with `reply` where the server offers that, else with the 403 that is all ASGI has."""
    if DENIAL in (scope.get("extensions") or {}):
        await _reply(send, DENIAL, reply, False)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


async def answer(scope: Mapping[str, Any], send: Send, reply: HttpReply) -> None:
    """Answers a plain request."""
    await _reply(send, "http.response", reply, scope.get("method") == "HEAD", parting(scope, reply.status))


def parting(scope: Mapping[str, Any], status: int) -> tuple[tuple[str, str], ...]:
    """The header with which a server hangs up: on a body that came too slowly, or is too large, while it still comes.

    Else servers would go on reading it (RFC 9112 §9.6). HTTP/2 has no such header, and ends the stream.
    """
    early = status in (408, 413) and str(scope.get("http_version", "1.1")).startswith("1")
    return (("connection", "close"),) if early else ()


async def _reply(
    send: Send, prefix: str, reply: HttpReply, head_only: bool, more: tuple[tuple[str, str], ...] = ()
) -> None:
    bodiless = reply.status in (204, 304)  # RFC 9110 §8.6: these say no length, or that of another answer
    lines = [] if bodiless else [("content-length", str(len(reply.body)))]
    if reply.body:
        lines.append(("content-type", reply.content_type))
    given = [(name.lower(), value) for name, value in reply.headers]
    replaced = {name for name, _ in given}
    lines = [line for line in lines if line[0] == "content-length" or line[0] not in replaced]
    lines += [*(line for line in given if line[0] not in _HOP_BY_HOP), *more]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]
    await send({"type": f"{prefix}.start", "status": reply.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": b"" if head_only else reply.body, "more_body": False})


def _remote(client: Any) -> tuple[str, int] | None:
    return (str(client[0]), int(client[1] or 0)) if client and client[0] else None
