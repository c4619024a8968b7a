"""The response to a request head: not complete yet, admitted, or rejected. The same for every byte stream."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from mycelia.protocol.http.request import BadHandshake, Handshake, HttpReply, read_request
from mycelia.protocol.ws.handshake import accept_response, check_upgrade
from mycelia.transports.seam import Accept

__all__ = ["Admitted", "Rejected", "RequestHandler", "parse_and_admit"]

logger = logging.getLogger("mycelia.websocket.engine")


class RequestHandler(Protocol):
    """Decides about well-formed request heads, and counts the others."""

    def admit(self, request: Handshake) -> Accept | HttpReply:
        """Decide a handshake."""

    def record_bad_request(self, status: int) -> None:
        """Count a head that was rejected before `admit` was called."""


class Admitted(NamedTuple):
    """An accepted handshake: the decision, the finished 101 response, and the length of the request head."""

    accept: Accept
    response: bytes
    head_bytes: int


class Rejected(NamedTuple):
    """An HTTP response, which is sent without its body if the request method is HEAD."""

    reply: HttpReply
    head_only: bool


def parse_and_admit(head: bytes, peername: object, secure: bool, handler: RequestHandler) -> Admitted | Rejected | None:
    """Return the response to what has arrived of a request, or None if the head is incomplete. Never raises.

    `peername` is the event loop's name of the peer: a tuple that starts with host and port, or something else for a
    Unix socket, whose peers have no address.
    """
    remote = (str(peername[0]), int(peername[1])) if isinstance(peername, tuple) else None
    read: tuple[Handshake, int] | None = None
    try:
        read = read_request(head, remote, secure)
        if read is None:
            return None
        request, head_bytes = read
        answer = handler.admit(request)
        if isinstance(answer, HttpReply):
            return Rejected(answer, request.method == "HEAD")
        check_upgrade(request)
        agreed = None if answer.compression is None else answer.compression.response
        return Admitted(answer, accept_response(request, answer.subprotocol, answer.headers, agreed), head_bytes)
    except BadHandshake as bad:
        if read is None:
            handler.record_bad_request(bad.reply.status)
        return Rejected(bad.reply, head.startswith(b"HEAD "))
    except Exception:
        logger.exception("the admit handler, or its response, failed; the client gets 500")
        return Rejected(HttpReply(500, b"internal error\n"), False)
