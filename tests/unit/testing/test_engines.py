"""The suite must fail an engine that is wrong; that ours are right is shown in tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.testing.engines import EngineCheck, RecordingPeer, engine_checks
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.seam import Accept, Engine

CHECKS = {check.name: check for check in engine_checks()}


class Spoilt(MemoryEngine):
    """An engine that is right but for what `spoil` does to its peers."""

    def __init__(self, spoil: Callable[[RecordingPeer], None]) -> None:
        super().__init__()
        self._spoil = spoil

    def admit(self, request: Handshake) -> Accept | HttpReply:
        answer = super().admit(request)
        if isinstance(answer, Accept) and isinstance(answer.peer, RecordingPeer):
            self._spoil(answer.peer)
        return answer


def closes_twice(peer: RecordingPeer) -> None:
    closed = peer.closed

    def twice(code: int, reason: str) -> None:
        closed(code, reason)
        closed(code, reason)

    vars(peer)["closed"] = twice


def never_closes(peer: RecordingPeer) -> None:
    vars(peer)["closed"] = lambda code, reason: None


def swaps_kinds(peer: RecordingPeer) -> None:
    received = peer.received
    vars(peer)["received"] = lambda payload, binary: received(payload, not binary)


def leaves_a_task(peer: RecordingPeer) -> None:
    asyncio.create_task(asyncio.Event().wait(), name="left over")  # noqa: RUF006  # nobody keeps it: the fault


@pytest.mark.parametrize(
    ("spoil", "check", "says"),
    [
        (closes_twice, "aborts", "closed"),
        (never_closes, "stop_ends_every_connection", "closed"),
        (swaps_kinds, "echoes_text_and_binary", "the echo"),
        (leaves_a_task, "aborts", "left over"),
    ],
)
async def test_a_spoilt_engine_fails(spoil: Callable[[RecordingPeer], None], check: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        await CHECKS[check](lambda: Spoilt(spoil))
    for task in asyncio.all_tasks():
        if task.get_name() == "left over":
            task.cancel()


class Deaf(MemoryEngine):
    """Starts as often as it is told to, and takes any option."""

    async def start(self, options: EngineOptions) -> None:
        await self.stop()
        await super().start(EngineOptions())


@pytest.mark.parametrize("check", ["refuses_a_second_start", "names_an_unknown_option"])
async def test_an_engine_that_takes_anything_fails(check: str) -> None:
    with pytest.raises(AssertionError, match="expected"):
        await CHECKS[check](Deaf)


def test_checks_have_names_of_their_own() -> None:
    assert len(CHECKS) == len(engine_checks()) > 50
    assert str(engine_checks()[0]) == engine_checks()[0].name


def test_the_example_of_the_docstring() -> None:
    make_engine: Callable[[], Engine] = MemoryEngine
    check: EngineCheck = engine_checks()[0]
    asyncio.run(check(make_engine))
