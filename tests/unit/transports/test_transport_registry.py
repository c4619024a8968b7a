"""The transports of an engine, and the end of them all."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mycelia.transports.seam import Transport
from mycelia.transports.transport_registry import TransportRegistry


class Leaving:
    """A transport that is gone in a later turn of the loop."""

    def __init__(self, transports: TransportRegistry) -> None:
        self._transports = transports
        self.gone = False

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        self.gone = True
        self._transports.discard(cast(Transport, self))


async def test_the_last_one_is_waited_for() -> None:
    transports = TransportRegistry()
    for _ in range(2):  # an engine may be started again
        leaving = [Leaving(transports) for _ in range(3)]
        for each in leaving:
            transports.add(cast(Any, each))
        await asyncio.wait_for(transports.abort(), 5)
        assert all(each.gone for each in leaving)
    await asyncio.wait_for(transports.abort(), 5)  # nobody is there
