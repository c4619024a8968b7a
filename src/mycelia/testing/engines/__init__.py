"""The engine suite: what every engine must do, as checks that run under any test runner.

    import asyncio, pytest
    from mycelia.testing.engines import engine_checks

    @pytest.mark.parametrize("check", engine_checks(), ids=str)
    def test_my_engine(check):
        asyncio.run(check(MyEngine))

A check makes its own engine with the function or class that it is given, starts it on a free port, talks to
it over raw TCP (to `MemoryEngine` in memory), and looks for what it left behind. An engine that listens nowhere by
itself is checked at a `Place` that calls it, such as a server: `check(MyEngine, place)`.

`engine_checks(MyEngine.capabilities)` leaves out what the engine does not declare (`mycelia.transports.capabilities`),
and what a transport does not have (`CanPing`, `CanPause`) is not asked for. picows and websockets pass all of them.
"""

from collections.abc import Collection

from mycelia.testing.engines import closing, flow, handshake, lifecycle, messages
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.place import Place
from mycelia.testing.engines.stand import EngineStand, RecordingPeer

__all__ = ["EngineCheck", "EngineStand", "Place", "RecordingPeer", "engine_checks"]


def engine_checks(capabilities: Collection[str] | None = None) -> tuple[EngineCheck, ...]:
    """The checks for an engine with these capabilities, or all, in an order in which the simplest comes first."""
    every = (*lifecycle.CHECKS, *handshake.CHECKS, *messages.CHECKS, *closing.CHECKS, *flow.CHECKS)
    return every if capabilities is None else tuple(check for check in every if check.needs <= set(capabilities))
