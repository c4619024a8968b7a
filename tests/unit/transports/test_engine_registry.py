from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

import mycelia
from mycelia.errors import EngineError
from mycelia.transports import engine_registry
from mycelia.transports.engine_registry import engine_names, is_engine, load_engine, make_engine
from mycelia.transports.memory.engine import MemoryEngine

ENGINES = ["picows", "websockets", "memory", "asgi", "socketio", "sockjs"]


class Undeclared:
    """An engine of an older version, which lacks declarations."""

    name = "old"

    async def start(self, options: Any) -> None: ...

    async def stop(self) -> None: ...

    def on(self, event: str, handler: Any) -> None: ...

    def address(self) -> None: ...


def make_undeclared() -> Any:
    return Undeclared()


def install(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    installed = EntryPoints(EntryPoint(name, target, "mycelia.engines") for name, target in targets.items())
    monkeypatch.setattr(engine_registry, "entry_points", lambda group: installed.select(group=group))


@pytest.mark.parametrize(
    ("name", "made"),
    [("picows", "picows"), ("uws", "picows"), ("websockets", "websockets"), ("ws", "websockets"), ("memory", "memory")],
)
def test_names_and_aliases(name: str, made: str) -> None:
    assert load_engine(name)().name == make_engine(name).name == made
    assert name in engine_names() and is_engine(name)


def test_each_call_makes_an_engine_of_its_own() -> None:
    factory: Callable[[], object] = load_engine("memory")
    assert factory() is not factory()


@pytest.mark.parametrize("name", ["", "PICOWS", "socket-io", "picows "])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    known = r"unknown engine type .*; known: asgi, memory, picows, .*uws, websockets, ws"
    with pytest.raises(EngineError, match=known):
        load_engine(name)
    assert not is_engine(name)


def test_an_installed_engine_is_found_and_does_not_displace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "mycelia.transports.memory.engine:MemoryEngine"
    install(monkeypatch, mine=target, picows=target)
    assert load_engine("mine")().name == "memory"
    assert load_engine("picows")().name == "picows"
    assert engine_names().count("picows") == 1 and "mine" in engine_names()


def test_an_engine_that_lacks_declarations_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, old=f"{__name__}:Undeclared", factory=f"{__name__}:make_undeclared")
    missing = "capabilities, framed, codec, prefix, addresses"
    help_text = "derive it from mycelia.transports.base_engine.BaseEngine"
    with pytest.raises(EngineError, match=f"the engine 'old' does not declare {missing}; {help_text}"):
        load_engine("old")
    load_engine("factory")  # what a function makes is known only when it is called
    with pytest.raises(EngineError, match=f"the engine 'factory' does not declare {missing}, refused_for_descriptors"):
        make_engine("factory")


@pytest.mark.parametrize("name", ENGINES)
def test_our_engines_declare_everything(name: str) -> None:
    assert type(make_engine(name)) is load_engine(name)


def test_an_engine_with_the_former_name_of_capabilities_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="`Old.abilities` is now called `capabilities`"):

        class Old(MemoryEngine):
            abilities = frozenset({"payload"})

    assert Old.capabilities == {"payload"} and MemoryEngine.capabilities != {"payload"}
    with pytest.warns(DeprecationWarning, match="`MemoryEngine.abilities` is now called `capabilities`"):
        assert MemoryEngine.abilities == MemoryEngine.capabilities


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_imports_nothing_of_the_layers_above(name: str) -> None:
    code = (
        # The package's root exports the kernel, so this test puts an empty root in its place.
        "import sys, types; root = sys.modules['mycelia'] = types.ModuleType('mycelia'); "
        f"root.__path__ = {list(mycelia.__path__)}; from mycelia.transports.engine_registry import load_engine; "
        f"load_engine({name!r}); "
        "above = ('mycelia.kernel', 'mycelia.realtime', 'mycelia.serving', 'mycelia.websocket', 'mycelia.server'); "
        "print([m for m in sys.modules if m.startswith(above)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
