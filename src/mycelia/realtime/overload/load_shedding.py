"""Load shedding: refuses new requests of open connections while the server is overloaded or drains.

Refused requests are answered OVERLOADED at once, and accepted ones go on. A link is switched by exchanging what takes
its messages, so a link that is not switched pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time

from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.connection.work import Receive
from mycelia.realtime.inbound.decoder import Decoder

__all__ = ["LoadShedding"]


class LoadShedding:
    """Refuses the requests of one subsystem's links.

    Args:
        registry: All links.
        decoder: Answers refused requests.
        receiver: Returns what takes the messages of an open link.
    """

    def __init__(self, registry: ConnectionRegistry, decoder: Decoder, receiver: Callable[[Link], Receive]) -> None:
        self._registry, self._decoder, self._receiver = registry, decoder, receiver

    def switch(self, on: bool) -> None:
        """Begin or end load shedding for every open link. A link that is being drained refuses requests anyway."""
        for link in self._registry.open_links():
            link.shed(on)

    def refuser(self, link: Link) -> Receive:
        """Return what refuses the requests of an open link. Responses to the server's own requests still pass."""
        return partial(self._refuse, link)

    def _refuse(self, link: Link, payload: bytes, binary: bool) -> None:
        has_pending = link.session.pending_requests is not None
        if binary is not link.encoder.binary or (self._decoder.transforms_messages and has_pending):
            # The receiver answers a wrong type of message. A transform must run before a response is recognised.
            self._receiver(link)(payload, binary)
            return
        link.active_at = time()
        self._decoder.refuse(link, None, payload)
