"""The engine suite: the contract of `mycelia.transports.seam` as checks that run under any test runner.

    import asyncio, pytest
    from mycelia.testing.engines import engine_checks

    @pytest.mark.parametrize("check", engine_checks(), ids=str)
    def test_my_engine(check):
        asyncio.run(check(MyEngine))

A check makes its own engine with the class or function that it gets, and starts it on a free port. It talks to the
engine over raw TCP (to `MemoryEngine` in memory), and looks for tasks that are left. An engine that does not listen
itself is checked under an `EngineServer` that calls it: `check(MyEngine, server)`.

`engine_checks(MyEngine.capabilities)` omits the checks of capabilities that the engine does not declare. What a
transport lacks (`CanPing`, `CanPause`) is not checked. picows and websockets pass all checks.
"""

from collections.abc import Collection

from mycelia._deprecated import forward_old_names
from mycelia.testing.engines import closing, flow, handshake, lifecycle, messages
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness
from mycelia.testing.engines.recording_peer import RecordingPeer
from mycelia.testing.engines.server import EngineServer

__all__ = ["EngineCheck", "EngineHarness", "EngineServer", "RecordingPeer", "engine_checks"]


def engine_checks(capabilities: Collection[str] | None = None) -> tuple[EngineCheck, ...]:
    """Return the checks for an engine, the simplest ones first.

    Args:
        capabilities: The capabilities that the engine declares, or None for all checks.
    """
    every = (*lifecycle.CHECKS, *handshake.CHECKS, *messages.CHECKS, *closing.CHECKS, *flow.CHECKS)
    return every if capabilities is None else tuple(check for check in every if check.needs <= set(capabilities))


forward_old_names(__name__)
