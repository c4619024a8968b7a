from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.ws.handshake import HttpReply
from mycelia.transports import seam as base
from mycelia.transports.seam import (
    CanFrame,
    CanPause,
    CanPing,
    EngineOptions,
    check_event,
    check_start,
    engine_names,
    load_engine,
)
from tests.unit.realtime.support import FakeTransport, PlainTransport


@pytest.mark.parametrize(
    ("name", "made"),
    [("picows", "picows"), ("uws", "picows"), ("websockets", "websockets"), ("ws", "websockets"), ("memory", "memory")],
)
def test_names_and_aliases(name: str, made: str) -> None:
    assert load_engine(name)().name == made
    assert name in engine_names()


def test_each_call_makes_an_engine_of_its_own() -> None:
    factory: Callable[[], object] = load_engine("memory")
    assert factory() is not factory()


@pytest.mark.parametrize("name", ["", "PICOWS", "socket-io", "picows "])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    known = r"unknown engine type .*; known: asgi, memory, picows, .*uws, websockets, ws"
    with pytest.raises(EngineError, match=known):
        load_engine(name)


def test_an_installed_engine_is_found_and_does_not_displace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "mycelia.transports.memory.engine:MemoryEngine"
    installed = EntryPoints(EntryPoint(name, target, "mycelia.engines") for name in ("mine", "picows"))
    monkeypatch.setattr(base, "entry_points", lambda group: installed.select(group=group))
    assert load_engine("mine")().name == "memory"
    assert load_engine("picows")().name == "picows"
    assert engine_names().count("picows") == 1 and "mine" in engine_names()


@pytest.mark.parametrize("ability", [CanFrame, CanPing, CanPause])
def test_abilities_are_told_by_what_a_transport_has(ability: type) -> None:
    assert isinstance(FakeTransport(), ability) and not isinstance(PlainTransport(), ability)


def test_what_every_start_checks() -> None:
    def admit(request: object) -> HttpReply:
        return HttpReply(404)

    check_start("mine", False, admit, {"size": 1}, {"size", "speed"})
    with pytest.raises(NotRunning, match=r"the mine engine is already running; stop\(\) it first"):
        check_start("mine", True, None, {"other": 1})
    with pytest.raises(EngineError, match=r"expected on\('admit', handler\) before start\(\)"):
        check_start("mine", False, None, {"other": 1})
    with pytest.raises(EngineError, match="unknown option 'b' for the mine engine; known: size, speed"):
        check_start("mine", False, admit, ["c", "size", "b"], ["speed", "size"])
    with pytest.raises(EngineError, match="known: none"):
        check_start("mine", False, admit, {"size": 1})
    check_event("admit")
    with pytest.raises(EngineError, match="expected the event 'admit', got 'open'"):
        check_event("open")


@pytest.mark.parametrize("name", ["picows", "websockets", "memory", "asgi", "socketio"])
async def test_every_engine_makes_these_checks(name: str) -> None:
    engine = load_engine(name)()
    with pytest.raises(EngineError, match="before start"):
        await engine.start(EngineOptions())
    with pytest.raises(EngineError, match="'open'"):
        engine.on("open", lambda request: HttpReply(404))  # type: ignore[arg-type]
    engine.on("admit", lambda request: HttpReply(404))
    with pytest.raises(EngineError, match=f"unknown option 'no_such' for the {name} engine; known: "):
        await engine.start(EngineOptions(library={"no_such": 1}))
    await engine.start(EngineOptions())
    with pytest.raises(NotRunning, match=f"the {name} engine is already running"):
        await engine.start(EngineOptions())
    await engine.stop()
