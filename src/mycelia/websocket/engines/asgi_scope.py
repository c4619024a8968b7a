"""What an ASGI server says of a request, as a Handshake, and our HTTP answers in its words (ASGI 3.0).

The server has read the request: what it refuses we never see, and the headers of the upgrade may be gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

from mycelia.protocol.handshake import BadHandshake, Handshake, Headers, HttpReply, UpgradedHandshake

__all__ = ["CanServe", "Event", "Receive", "Scope", "Send", "answer", "path_of", "read_scope", "refuse"]

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


@runtime_checkable
class CanServe(Protocol):
    """An engine that is given what an ASGI server received, instead of listening.

    `path` is that of the request below the endpoint's mount. A class attribute `prefix = True` asks for everything
    below the endpoint's path, plain requests too; without it the engine gets that path alone.
    """

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None: ...


DENIAL = "websocket.http.response"  # the extension by which a handshake is refused with an answer of our own

_PATH = "/:@!$&'()*+,;=-._~"  # what a path shows as it is (RFC 3986 §3.3)
_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


def path_of(scope: Mapping[str, Any]) -> str:
    """The path below the mount (ASGI: `path` without `root_path`), percent-encoded in one way only; never empty.

    Made of the decoded path, because whoever routed the request to us looked at that one.
    """
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return quote(path, safe=_PATH) or "/"


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


async def refuse(scope: Mapping[str, Any], send: Send, reply: HttpReply) -> None:
    """Refuses a WebSocket: with `reply` where the server offers that, else with the 403 that is all ASGI has."""
    if DENIAL in (scope.get("extensions") or {}):
        await _reply(send, DENIAL, reply, False)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


async def answer(scope: Mapping[str, Any], send: Send, reply: HttpReply) -> None:
    """Answers a plain request."""
    await _reply(send, "http.response", reply, scope.get("method") == "HEAD")


async def _reply(send: Send, prefix: str, reply: HttpReply, head_only: bool) -> None:
    lines = [("content-length", str(len(reply.body)))]
    if reply.body:
        lines.append(("content-type", reply.content_type))
    given = [(name.lower(), value) for name, value in reply.headers]
    replaced = {name for name, _ in given}
    lines = [line for line in lines if line[0] == "content-length" or line[0] not in replaced]
    lines += [line for line in given if line[0] not in _HOP_BY_HOP]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]
    await send({"type": f"{prefix}.start", "status": reply.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": b"" if head_only else reply.body, "more_body": False})


def _remote(client: Any) -> tuple[str, int] | None:
    return (str(client[0]), int(client[1] or 0)) if client and client[0] else None
