"""The facet `messages`: makes messages and sends them through the subsystem's system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mycelia.errors import NotRunning
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.messages.message import Message, Metadata
from mycelia.kernel.node import Node

__all__ = ["Messages", "MessagesContract", "use_messages"]


class MessagesContract(Protocol):
    """What others may expect of the facet `messages`."""

    def create(self, path: str, body: Any = None) -> Message: ...
    async def send(self, message: Message) -> Any: ...


class Messages(Facet):
    """A subsystem's way to the others."""

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem

    def create(self, path: str, body: Any = None, metadata: Mapping[str, Any] | Metadata | None = None) -> Message:
        """A message, not yet sent."""
        return Message(path, body, metadata)

    async def send(self, message: Message, *, as_system: bool = False, timeout: float | None = None) -> Any:
        """As `MessageSystem.send`; raises NotRunning while the subsystem belongs to no system."""
        if self._subsystem.ms is None:
            raise NotRunning(f"subsystem {self._subsystem.name!r} belongs to no system; give it ms=")
        return await self._subsystem.ms.send(message, as_system=as_system, timeout=timeout)


@hook(kind="messages", requires=["router"], contract=MessagesContract)
def use_messages(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the messages facet."""
    return Messages(subsystem)
