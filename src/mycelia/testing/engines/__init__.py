"""The engine suite: what every engine must do, as checks that run under any test runner.

    import asyncio, pytest
    from mycelia.testing.engines import engine_checks

    @pytest.mark.parametrize("check", engine_checks(), ids=str)
    def test_my_engine(check):
        asyncio.run(check(MyEngine))

A check makes its own engine with the function or class that it is given, starts it on a free port, talks to
it over raw TCP (to `MemoryEngine` in memory), and looks for what it left behind. Abilities that a transport
does not have (`CanPing`, `CanPause`) are not asked for. Mycelia's own engines pass all of them.
"""

from mycelia.testing.engines import closing, flow, handshake, lifecycle, messages
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.stand import EngineStand, RecordingPeer

__all__ = ["EngineCheck", "EngineStand", "RecordingPeer", "engine_checks"]


def engine_checks() -> tuple[EngineCheck, ...]:
    """All checks, in an order in which the simplest comes first."""
    return (*lifecycle.CHECKS, *handshake.CHECKS, *messages.CHECKS, *closing.CHECKS, *flow.CHECKS)
