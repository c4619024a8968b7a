"""The lifespan of an ASGI server: it starts and stops the message system of a subsystem."""

from __future__ import annotations

import logging

from mycelia.asgi.scope import Receive, Send
from mycelia.errors import BuildError
from mycelia.kernel.lifecycle import State
from mycelia.kernel.subsystem import BaseSubsystem

__all__ = ["NotStartedWarning", "run_lifespan"]

logger = logging.getLogger("mycelia.serving")


async def run_lifespan(subsystem: BaseSubsystem, receive: Receive, send: Send) -> None:
    """Run the message system of a subsystem from `lifespan.startup` to `lifespan.shutdown`."""
    await receive()
    started = False
    try:
        system = subsystem.ms
        if system is None:
            raise BuildError(subsystem.name, "expected ms=MessageSystem(…): the lifespan starts this system")
        async with system:
            await send({"type": "lifespan.startup.complete"})
            started = True
            await receive()
    except Exception as error:
        what = "shutdown" if started else "startup"
        logger.exception("lifespan %s of subsystem %r failed", what, subsystem.name)
        await send({"type": f"lifespan.{what}.failed", "message": f"{type(error).__name__}: {error}"})
    else:
        await send({"type": "lifespan.shutdown.complete"})


class NotStartedWarning:
    """Warns once if requests come although the message system has never been started.

    The usual cause is a host application that mounts this one and does not start the system in its own lifespan. After
    the first start there is no warning: requests before the end of a start and after a stop are refused on purpose.
    """

    def __init__(self, subsystem: BaseSubsystem) -> None:
        self._subsystem = subsystem
        self._warned = False

    def warn(self) -> None:
        """Log the warning, if it applies. The caller has refused a request because the subsystem is not running."""
        if not self._warned and self._subsystem.state is State.NEW:
            self._warned = True
            logger.warning(
                "A request for subsystem %r came before the message system was started; the server answered 503. "
                "If another application mounts this one, start the system in its lifespan: `async with system`.",
                self._subsystem.name,
            )
