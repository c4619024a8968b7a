"""The lifespan of an ASGI server, as that of a message system."""

from __future__ import annotations

import logging

from mycelia.errors import BuildError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.protocol.asgi_scope import Receive, Send

__all__ = ["live"]

logger = logging.getLogger("mycelia.edge")


async def live(subsystem: BaseSubsystem, receive: Receive, send: Send) -> None:
    """Runs the system of a subsystem for as long as the server runs (ASGI lifespan)."""
    await receive()
    started = False
    try:
        system = subsystem.ms
        if system is None:
            raise BuildError(subsystem.name, "expected ms=MessageSystem(…): the system is what is started")
        async with system:
            await send({"type": "lifespan.startup.complete"})
            started = True
            await receive()
    except Exception as error:
        what = "shutdown" if started else "startup"
        logger.exception("lifespan %s failed", what)
        await send({"type": f"lifespan.{what}.failed", "message": f"{type(error).__name__}: {error}"})
    else:
        await send({"type": "lifespan.shutdown.complete"})
