"""The facet `processor`: runs the handler of a message right here, in the task of whoever asks."""

from __future__ import annotations

from inspect import isawaitable
from typing import Any, Protocol

from mycelia.errors import NoRoute
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.messages.context import Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import Message
from mycelia.kernel.node import Node

__all__ = ["Processor", "ProcessorContract", "use_processor"]


class ProcessorContract(Protocol):
    """What others may expect of the facet `processor`."""

    async def process(self, message: Message, options: Options) -> Any: ...


class Processor(Facet):
    """Processes messages for the subsystem's own paths; immediate, unless the subsystem has a queue."""

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem

    async def process(self, message: Message, options: Options) -> Any:
        """What the handler returned, as it returned it; what it raises is let through.

        For transports that know the caller themselves; everybody else sends through the system.
        """
        found = self._subsystem.match(message.path)
        if found is None:
            raise NoRoute(message.path)
        route, params = found
        token = CURRENT.set((route, message, options))
        try:
            value = route.call(message, params, options)
            value = await value if isawaitable(value) else value
        except BaseException:
            route.failed += 1
            raise
        finally:
            CURRENT.reset(token)
        route.handled += 1
        return value


@hook(kind="processor", requires=["router", "messages"], contract=ProcessorContract)
def use_processor(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the processor facet."""
    return Processor(subsystem)
