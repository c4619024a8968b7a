from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from mycelia.errors import EngineError
from mycelia.websocket.engines import base
from mycelia.websocket.engines.base import CanFrame, CanPause, CanPing, engine_names, load_engine
from tests.unit.websocket.support import FakeTransport, PlainTransport


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
    target = "mycelia.websocket.engines.memory:MemoryEngine"
    installed = EntryPoints(EntryPoint(name, target, "mycelia.engines") for name in ("mine", "picows"))
    monkeypatch.setattr(base, "entry_points", lambda group: installed.select(group=group))
    assert load_engine("mine")().name == "memory"
    assert load_engine("picows")().name == "picows"
    assert engine_names().count("picows") == 1 and "mine" in engine_names()


@pytest.mark.parametrize("ability", [CanFrame, CanPing, CanPause])
def test_abilities_are_told_by_what_a_transport_has(ability: type) -> None:
    assert isinstance(FakeTransport(), ability) and not isinstance(PlainTransport(), ability)
