"""The lifespan of an ASGI server, as that of a message system; and what is said where nobody enters that."""

from __future__ import annotations

import logging

from mycelia.asgi.scope import Receive, Send
from mycelia.errors import BuildError
from mycelia.kernel.building.lifecycle import State
from mycelia.kernel.subsystem import BaseSubsystem

__all__ = ["Reminder", "live"]

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


class Reminder:
    """Says once, in the log, that requests come while the system has never been entered.

    That is the lifespan forgotten in the host of a mounted application. Once the system has been entered its requests
    are refused on purpose, before the end and after it.
    """

    def __init__(self, subsystem: BaseSubsystem) -> None:
        self._subsystem = subsystem
        self._said = False

    def remind(self) -> None:
        """Called for a request that finds nobody to serve it."""
        if not self._said and self._subsystem.state is State.NEW:
            self._said = True
            logger.warning(
                "a request for subsystem %r came before the message system was started, and is refused: "
                "enter the system in the lifespan of the application that this one is mounted in (async with system)",
                self._subsystem.name,
            )
