"""The facet `queue`: a bounded mailbox in front of a subsystem's handlers."""

from __future__ import annotations

from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.mailbox import Mailbox, QueueConfig
from mycelia.kernel.node import Node

__all__ = ["use_queue"]


@hook(kind="queue", requires=["processor"])
def use_queue(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the mailbox and puts it around every handler of the subsystem."""
    mailbox = Mailbox(ctx.name, QueueConfig.read(ctx.queue or {}))
    subsystem.set_layer("queue", mailbox.layer)
    return mailbox
