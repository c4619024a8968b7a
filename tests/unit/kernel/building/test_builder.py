from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import BuildError, ConfigError
from mycelia.kernel.building.builder import verify
from mycelia.kernel.building.contract import Contract
from mycelia.kernel.building.hook import Api, Context, Hook, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.lifecycle import settle
from mycelia.kernel.subsystem import BaseSubsystem


class Recorder(Facet):
    """Writes down its moments, and fails in those that it is told to."""

    def __init__(self, kind: str, log: list[str], fails: str = "") -> None:
        self.kind, self.log, self.fails = kind, log, fails

    def record(self, moment: str) -> None:
        self.log.append(f"{moment} {self.kind}")
        if moment == self.fails:
            raise RuntimeError(moment)

    async def init(self) -> None:
        self.record("init")

    async def start(self) -> None:
        self.record("start")

    async def stop(self) -> None:
        self.record("stop")

    async def dispose(self) -> None:
        self.record("dispose")


def made(kind: str, *requires: str, log: list[str] | None = None, fails: str = "", **settings: Any) -> Hook:
    notes = [] if log is None else log

    def use(ctx: Context, api: Api, subsystem: Any) -> Facet:
        notes.append(f"make {kind}")
        if fails == "make":
            raise RuntimeError("make")
        return Recorder(kind, notes, fails)

    return hook(kind=kind, requires=requires, **settings)(use)


class Bare(BaseSubsystem):
    def default_hooks(self) -> list[Hook]:
        return []


def kinds(hooks: list[Hook]) -> list[str]:
    return [each.kind for each in verify("s", hooks)]


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ([], []),
        ([made("a"), made("b")], ["a", "b"]),
        ([made("a", "b"), made("b")], ["b", "a"]),
        ([made("a", "c"), made("b", "a"), made("c")], ["c", "a", "b"]),
        ([made("a"), made("b"), made("a", "b", overwrite=True)], ["b", "a"]),
    ],
)
def test_order(hooks: list[Hook], expected: list[str]) -> None:
    assert kinds(hooks) == expected


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        ([made("a"), made("a")], "two hooks of kind 'a'"),
        ([made("a", "x")], "requires 'x'"),
        ([made("a", "a")], "a → a"),
        ([made("z", "a"), made("a", "b"), made("b", "c"), made("c", "a")], "a → b → c → a"),
    ],
)
def test_refuses(hooks: list[Hook], problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        verify("s", hooks)


def test_a_facet_may_not_hide_what_the_subsystem_has() -> None:
    with pytest.raises(BuildError, match="attach=False"):
        verify("s", [made("build")], frozenset({"build"}))
    assert verify("s", [made("build", attach=False)], frozenset({"build"}))


@pytest.mark.parametrize("settings", [{"kind": "_a"}, {"kind": "a b"}, {"kind": "a", "requires": "router"}])
def test_hook_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        hook(**settings)


def test_hook_describes_itself() -> None:
    each = made("a", version="2.0")
    assert (each.source, each.version, each.attach, each.overwrite) == (__name__, "2.0", True, False)
    assert "use of " in str(each) and __name__ in str(each)
    assert made("a", source="elsewhere").source == "elsewhere"


async def test_builds_in_order_and_disposes_in_reverse_once() -> None:
    log: list[str] = []
    subsystem = Bare("s").use(made("a", "b", log=log)).use(made("b", log=log, attach=False))
    for _ in range(2):
        await subsystem.build()
        await subsystem.build()
        assert isinstance(subsystem.a, Recorder) and subsystem.find("b").kind == "b"
        with pytest.raises(AttributeError, match="no attached facet 'b'"):
            _ = subsystem.b
        await subsystem.start()
        await subsystem.stop()
        await subsystem.dispose()
        await subsystem.dispose()
        assert subsystem.find("a") is None and not hasattr(subsystem, "a")
        assert log == [
            *("make b", "init b", "make a", "init a", "start b", "start a"),
            *("stop a", "stop b", "dispose a", "dispose b"),
        ]
        log.clear()


@pytest.mark.parametrize("moment", ["make", "init"])
async def test_a_failure_rolls_back_in_reverse_and_a_second_build_works(moment: str) -> None:
    log: list[str] = []
    fails = [moment]
    subsystem = Bare("s").use(made("a", log=log)).use(made("b", log=log))

    @hook(kind="c")
    def use_c(ctx: Context, api: Api, subsystem: Any) -> Facet:
        api.register_route("s://mine", lambda m: 1)
        return made("c", log=log, fails=fails[0] if fails else "")(ctx, api, subsystem)

    subsystem.use(use_c)
    with pytest.raises(BuildError, match="use_c") as caught:
        await subsystem.build()
    assert isinstance(caught.value.__cause__, RuntimeError)
    own = [] if moment == "make" else ["dispose c"]
    assert log[-2 - len(own) :] == [*own, "dispose b", "dispose a"]
    assert subsystem.state.value == "new" and list(subsystem.routes) == []
    fails.clear()
    await subsystem.build()
    assert [route.path for route in subsystem.routes] == ["s://mine"]
    await subsystem.dispose()


async def test_faults_of_the_rollback_are_notes_of_the_first_fault() -> None:
    subsystem = Bare("s").use(made("a", fails="dispose")).use(made("b", fails="make"))
    with pytest.raises(BuildError) as caught:
        await subsystem.build()
    assert caught.value.__notes__ == ["while rolling back: RuntimeError: dispose"]


async def test_dispose_goes_on_after_a_fault() -> None:
    log: list[str] = []
    subsystem = Bare("s").use(made("a", log=log)).use(made("b", log=log, fails="dispose"))
    await subsystem.build()
    with pytest.raises(ExceptionGroup) as caught:
        await subsystem.dispose()
    assert [str(each) for each in caught.value.exceptions] == ["dispose"]
    assert log[-2:] == ["dispose b", "dispose a"]
    assert subsystem.state.value == "disposed"


async def test_stop_goes_on_after_a_fault() -> None:
    log: list[str] = []
    subsystem = Bare("s").use(made("a", log=log)).use(made("b", log=log, fails="stop"))
    await subsystem.build()
    with pytest.raises(ExceptionGroup):
        await subsystem.stop()
    assert log[-2:] == ["stop b", "stop a"]
    await subsystem.dispose()


async def test_a_cancelled_build_rolls_back() -> None:
    log: list[str] = []
    reached = asyncio.Event()

    class Slow(Recorder):
        async def init(self) -> None:
            reached.set()
            await asyncio.Event().wait()

    @hook(kind="slow", requires=["a"])
    def use_slow(ctx: Context, api: Api, subsystem: Any) -> Facet:
        assert api.find("a").kind == "a"
        return Slow("slow", log)

    subsystem = Bare("s").use(made("a", log=log)).use(use_slow)
    task = asyncio.create_task(subsystem.build())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log[-2:] == ["dispose slow", "dispose a"]


async def test_what_a_hook_returns_must_be_a_facet_and_keep_its_contract() -> None:
    @hook(kind="x")
    def use_nothing(ctx: Context, api: Api, subsystem: Any) -> Facet:
        return None  # type: ignore[return-value]  # the point of the test

    with pytest.raises(BuildError, match="expected a Facet, got NoneType"):
        await Bare("s").use(use_nothing).build()
    log: list[str] = []
    broken = made("x", log=log, contract=Contract("Runs", methods=("run",)))
    with pytest.raises(BuildError, match="contract Runs expects run"):
        await Bare("s").use(broken).build()
    assert log == ["make x", "dispose x"]


async def test_hooks_see_the_context() -> None:
    seen: list[Context] = []

    @hook(kind="x")
    def use_x(ctx: Context, api: Api, subsystem: Any) -> Facet:
        seen.append(ctx)
        return Facet()

    parent = Bare("p")
    subsystem = Bare("s", config={"k": 1}, parent=parent).use(use_x)
    await subsystem.build()
    assert (seen[0].name, seen[0].config, seen[0].ms, seen[0].parent) == ("s", {"k": 1}, None, parent)
    await subsystem.dispose()


async def test_settle_takes_every_step_even_when_cancelled() -> None:
    done: list[int] = []

    def step(number: int, fault: BaseException | None = None) -> Callable[[], Any]:
        async def take() -> None:
            done.append(number)
            if fault is not None:
                raise fault

        return take

    fault = ValueError("x")
    assert await settle([step(1), step(2, fault), step(3)]) == [fault]
    with pytest.raises(asyncio.CancelledError) as caught:
        await settle([step(4, asyncio.CancelledError()), step(5, fault), step(6)])
    assert done == [1, 2, 3, 4, 5, 6]
    assert caught.value.__notes__ == ["meanwhile ValueError: x"]


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=3)))
def test_every_order_has_requirements_first_or_is_refused(wanted: dict[str, set[str]]) -> None:
    hooks = [made(kind, *sorted(requires)) for kind, requires in wanted.items()]
    try:
        order = kinds(hooks)
    except BuildError as fault:
        problem = str(fault)
        assert "→" in problem or any(need not in wanted for needs in wanted.values() for need in needs)
        return
    assert sorted(order) == sorted(wanted)
    for kind, requires in wanted.items():
        assert all(order.index(need) < order.index(kind) for need in requires)
    assert order == kinds(hooks)


@given(st.lists(st.sampled_from(["", "make", "init"]), min_size=1, max_size=5))
async def test_whatever_was_made_is_disposed_in_reverse(moments: list[str]) -> None:
    log: list[str] = []
    subsystem = Bare("s")
    for index, moment in enumerate(moments):
        subsystem.use(made(f"f{index}", log=log, fails=moment))
    failing = next((index for index, moment in enumerate(moments) if moment), None)
    if failing is None:
        await subsystem.build()
        await subsystem.dispose()
        expected = [f"f{index}" for index in range(len(moments))]
    else:
        with pytest.raises(BuildError):
            await subsystem.build()
        expected = [f"f{index}" for index in range(failing + (moments[failing] == "init"))]
    assert [each.split()[1] for each in log if each.startswith("dispose")] == expected[::-1]
