"""Fixtures and rules for all tests.

`async def test_…` needs no marker: each runs in a loop of its own (uvloop where it exists; both loops
with `@pytest.mark.every_loop`), for 30 seconds at most (`@pytest.mark.time_limit(n)`), and fails for
tasks that outlive it. There are no async fixtures: write `async with` in the test, or a helper that is
an async context manager. Every test, async or not, fails for sockets, threads and children that it leaves.
Several processes may share the tests (`make pytest WORKERS=2`), in no order that a test could count on.
"""

from __future__ import annotations

import functools
import gc
import inspect
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import hypothesis
import pytest

from tests.support.leaks import Holdings
from tests.support.names import ADDRESS
from tests.support.parts import NodeClients, chromium_path, in_ci, node_clients
from tests.support.runner import LoopKind, run_async

TIME_LIMIT = 30.0

# No deadline: a test never asserts how long something takes. In CI the same examples every time.
hypothesis.settings.register_profile("mycelia", deadline=None, derandomize=in_ci(), print_blob=True)
hypothesis.settings.load_profile("mycelia")


def pytest_configure() -> None:
    # Every server's start walks and freezes all that is in memory, unless something is frozen already: with all tests
    # loaded that takes 0.1 s, 2,000 times. Freezing the little that is here now is enough to save it.
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("every_loop"):
        if "loop_kind" not in metafunc.fixturenames:
            metafunc.fixturenames.append("loop_kind")
        metafunc.parametrize("loop_kind", ["uvloop", "asyncio"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ADDRESS.search(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid}: expected a name without an address; give ids=shown to parametrize")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    function: Callable[..., Any] = pyfuncitem.obj
    handle = getattr(function, "hypothesis", None)
    if handle is not None:  # `@given` hides the async function; each example then gets a loop of its own
        inner = inspect.unwrap(handle.inner_test)
        if inspect.iscoroutinefunction(inner):
            handle.inner_test = _synchronous(inner, pyfuncitem)
        return None
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    _synchronous(function, pyfuncitem)(**arguments)
    return True


def _synchronous(
    function: Callable[..., Coroutine[object, object, object]], item: pytest.Function
) -> Callable[..., None]:
    kind: LoopKind = "uvloop"
    if hasattr(item, "callspec") and item.callspec.params.get("loop_kind") == "asyncio":
        kind = "asyncio"
    limit = item.get_closest_marker("time_limit")
    seconds = float(limit.args[0]) if limit else TIME_LIMIT

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> None:
        run_async(function(*args, **kwargs), kind, seconds)

    return run


@pytest.fixture
def loop_kind() -> LoopKind:
    """The loop of this test; `@pytest.mark.every_loop` gives it both values."""
    return "uvloop"


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a socket, a thread or a child process behind."""
    if request.node.get_closest_marker("leaks"):
        yield
        return
    before = Holdings.now()
    yield
    if left := before.left_behind():
        pytest.fail("left behind by the test: " + ", ".join(left), pytrace=False)


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago. Only for what cannot be told to listen on port 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    return chromium_path()


@pytest.fixture(scope="session")
def clients() -> NodeClients:
    """Node, and the folder `tests/clients` with its packages installed."""
    return node_clients()
