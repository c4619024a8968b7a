"""What the engines behind an HTTP server answer for themselves, and how they ask the gate."""

from __future__ import annotations

import logging

from mycelia.asgi.scope import NOT_SERVING
from mycelia.protocol.http.request import BadHandshake, Handshake, HttpReply
from mycelia.protocol.ws.handshake import check_upgrade
from mycelia.transports.seam import Accept, Admit

__all__ = ["ABSENT", "NO_ROOM", "ask_gate"]

logger = logging.getLogger("mycelia.websocket.engine")

NO_ROOM = HttpReply(503, b"no room; try again later\n", NOT_SERVING.headers)
ABSENT = HttpReply(404, b"not found\n")


def ask_gate(admit: Admit | None, request: Handshake) -> Accept | HttpReply:
    """The gate's answer; 503 when there is no gate. Never raises.

    A plain request is no handshake, whatever the gate thinks of it.
    """
    try:
        verdict = NOT_SERVING if admit is None else admit(request)
        if isinstance(verdict, Accept):
            check_upgrade(request)
        return verdict
    except BadHandshake as bad:
        return bad.reply
    except Exception:
        logger.exception("a handshake could not be decided")
        return HttpReply(500, b"internal error\n")
