"""The verdict on the head of a request: not yet, let in, or refused; the same for every engine over TCP."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from mycelia.protocol.http.request import Handshake
from mycelia.protocol.ws.handshake import BadHandshake, HttpReply, accept_response, check_upgrade, read_request
from mycelia.transports.seam import Accept

__all__ = ["Admitted", "Judge", "Refused", "judge"]

logger = logging.getLogger("mycelia.websocket.engine")


class Judge(Protocol):
    """Who decides about a request that is well-formed: the engine, by asking its gate."""

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""

    def admit(self, request: Handshake) -> Accept | HttpReply:
        """Decides the handshake."""

    def record_bad_request(self, status: int) -> None:
        """A head was refused before `admit` was asked."""


class Admitted(NamedTuple):
    """The peer may come in: its `accept`, the finished 101, and how many bytes of the head were read."""

    accept: Accept
    response: bytes
    used: int


class Refused(NamedTuple):
    """An HTTP answer; without its body for a HEAD."""

    reply: HttpReply
    head_only: bool


def judge(head: bytes, peername: object, engine: Judge) -> Admitted | Refused | None:
    """The verdict on what has come of a request so far; None when more is needed. Never raises.

    `peername` is what the event loop calls the peer: host, port and more for IPv6, no tuple for a socket in the file
    system, whose peers have no address.
    """
    remote = (str(peername[0]), int(peername[1])) if isinstance(peername, tuple) else None
    read: tuple[Handshake, int] | None = None
    try:
        read = read_request(head, remote, engine.secure)
        if read is None:
            return None
        request, used = read
        answer = engine.admit(request)
        if isinstance(answer, HttpReply):
            return Refused(answer, request.method == "HEAD")
        check_upgrade(request)
        agreed = None if answer.compression is None else answer.compression.response
        return Admitted(answer, accept_response(request, answer.subprotocol, answer.headers, agreed), used)
    except BadHandshake as bad:
        if read is None:
            engine.record_bad_request(bad.reply.status)
        return Refused(bad.reply, head.startswith(b"HEAD "))
    except Exception:
        logger.exception("a handshake could not be decided")
        return Refused(HttpReply(500, b"internal error\n"), False)
