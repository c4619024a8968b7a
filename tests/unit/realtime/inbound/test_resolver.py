from __future__ import annotations

import gc
import sys
from types import FrameType
from typing import Any

import pytest

from mycelia.errors import InvalidPath, MyceliaError, NoRoute
from mycelia.protocol.wire.envelope import Event, Request
from mycelia.realtime.config.sections import RoutingConfig
from mycelia.realtime.inbound.resolver import Resolver
from tests.unit.kernel.support import route_to
from tests.unit.realtime.support import Stage, staged


def by_id(id: int) -> int:
    return id


def anything(message: Any, params: Any, options: Any) -> None: ...


def stocked(stage: Stage, **routing: Any) -> Resolver:
    stage.app.register_route("app://open", anything, expose=True)
    stage.app.register_route("app://open/{id}", anything, expose=True)
    stage.app.register_route("app://hidden", anything)
    stage.app.register_route("app://hidden/{id}", anything)
    return Resolver(stage.system, "websocket", RoutingConfig(**routing))


def target(stage: Stage, resolver: Resolver, path: str | None, body: Any = None) -> tuple[str, dict[str, str], Any]:
    connection, _ = stage.open()
    route, params, message = resolver.resolve(connection, Request(path, body), "t", None)
    assert message.connection is connection.session and message.trace_id == "t"
    return route.path, dict(params), message.body


@pytest.mark.parametrize(
    ("path", "body", "route", "params"),
    [
        ("app://open", 5, "app://open", {}),
        ("app://open/7", None, "app://open/{id}", {"id": "7"}),
        ("app://open/a%20b", None, "app://open/{id}", {"id": "a b"}),
        ("app://open/{id}", {"id": 7}, "app://open/{id}", {"id": "7"}),
        ("app://open/{who}", {"who": "a%20b"}, "app://open/{id}", {"id": "a%20b"}),
    ],
)
async def test_exposed_routes(path: str, body: Any, route: str, params: dict[str, str]) -> None:
    async with staged() as stage:
        assert target(stage, stocked(stage), path, body) == (route, params, body)


async def test_private_and_absent_paths_raise_the_same() -> None:
    async with staged() as stage:
        resolver = stocked(stage)
        for path in ("app://hidden", "app://hidden/1", "app://absent", "nobody://x", "websocket://broadcast"):
            with pytest.raises(NoRoute, match=f"no route for path '{path}'"):
                target(stage, resolver, path)


@pytest.mark.parametrize("expose", [(), ("app://other/*", "app://third")])
async def test_private_and_absent_paths_take_the_same_steps(expose: tuple[str, ...]) -> None:
    """Not a clock but the calls are compared: what is done for the one is done for the other, but for the tree."""
    async with staged() as stage:
        resolver = stocked(stage, expose=expose)
        connection, _ = stage.open()
        steps: dict[str, list[str]] = {}
        for path in ("app://hidden", "app://absent", "app://hidden/1", "app://absent/1"):
            request = Request(path, None)
            seen: list[str] = []

            def watch(frame: FrameType, event: str, argument: object, seen: list[str] = seen) -> None:
                if event == "call":
                    seen.append(frame.f_code.co_qualname)

            gc.disable()  # what is collected meanwhile is no step of this
            sys.setprofile(watch)
            try:
                resolver.resolve(connection, request, "t", None)
            except NoRoute:
                pass
            finally:
                sys.setprofile(None)
                gc.enable()
            inside_the_router = ("_find", "bind", "Router.match", "Pattern.", "_decode", "decode")
            steps[path] = [each for each in seen if not each.startswith(inside_the_router)]
        assert steps["app://hidden"] == steps["app://absent"]
        private = [each for each in steps["app://hidden/1"] if each in steps["app://absent/1"]]
        assert private == steps["app://absent/1"]
        assert len(steps["app://hidden/1"]) - len(private) <= 4  # the parameter of the private one is decoded


@pytest.mark.parametrize("tail", ["%zz", "%ff", "..", "a%2Fb", "{id}"])
async def test_a_wrong_parameter_is_told_by_exposed_routes_only(tail: str) -> None:
    async with staged() as stage:
        resolver = stocked(stage)
        told = {}
        for path in ("open", "hidden", "absent"):
            with pytest.raises(MyceliaError) as caught:
                target(stage, resolver, f"app://{path}/{tail}", {"id": ".."})
            told[path] = caught.value.code
        assert told["hidden"] == told["absent"]
        assert told["open"] == "INVALID_PATH"


@pytest.mark.parametrize("path", ["", "nonsense", "app:/open"])
async def test_what_is_no_path_is_told(path: str) -> None:
    async with staged() as stage:
        with pytest.raises(InvalidPath):
            target(stage, stocked(stage), path)


@pytest.mark.parametrize(
    ("patterns", "path", "opens"),
    [
        ((), "app://hidden", False),
        (("app://hidden",), "app://hidden", True),
        (("app://hidden",), "app://hidden/1", False),
        (("app://hid*",), "app://hidden/1", True),
        (("app://*",), "app://x/y", True),
        (("*",), "app://x", True),
        (("*",), "websocket://broadcast", False),
        (("websocket://*",), "websocket://send/1", False),
        (("websocket://broadcast",), "websocket://broadcast", False),
        (("app*",), "application://x", True),
        (("other://x", "app://x"), "app://x", True),
    ],
)
async def test_expose(patterns: tuple[str, ...], path: str, opens: bool) -> None:
    async with staged() as stage:
        assert stocked(stage, expose=patterns).exposes(path) is opens


async def test_expose_opens_a_private_route_and_names_its_wrong_parameters() -> None:
    async with staged() as stage:
        resolver = stocked(stage, expose=("app://hidden/*",))
        assert target(stage, resolver, "app://hidden/5")[0] == "app://hidden/{id}"
        with pytest.raises(InvalidPath):
            target(stage, resolver, "app://hidden/%zz")
        with pytest.raises(NoRoute):
            target(stage, resolver, "app://hidden")


async def test_a_registered_handler_comes_first() -> None:
    async with staged() as stage:
        resolver = stocked(stage)
        assert not resolver.has_handlers
        mine = route_to("app://open/{id}", by_id, expose=True)
        resolver.add(mine, replace=False)
        connection, _ = stage.open()
        assert resolver.has_handlers and list(resolver.handlers) == [mine]
        assert resolver.resolve(connection, Request("app://open/1"), "t", None)[0] is mine
        assert resolver.resolve(connection, Request("app://open"), "t", None)[0] is not mine


@pytest.mark.parametrize("path", [None, "app://hidden", "app://absent", "nobody://x"])
async def test_what_nobody_answers_goes_to_the_applications_default_handler_as_an_envelope(path: str | None) -> None:
    async with staged() as stage:
        resolver = stocked(stage, default_path="app://inbox")
        stage.app.register_route("app://inbox", anything)
        route, params, body = target(stage, resolver, path, 5)
        assert (route, params, body["body"]) == ("app://inbox", {}, 5)
        assert body.get("path") == path


async def test_the_built_in_default_handler_catches_only_what_has_no_path() -> None:
    async with staged() as stage:
        resolver = stocked(stage)
        assert target(stage, resolver, None, 5)[0] == "websocket://message"
        with pytest.raises(NoRoute):
            target(stage, resolver, "app://absent")


async def test_an_event_goes_to_the_default_path() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        route, _, message = stocked(stage).resolve_default(connection, Event("typing", 1), "t", None)
        assert route.path == "websocket://message" and message.body == {"event": "typing", "data": 1}


@pytest.mark.parametrize("encoded", [False, True])
async def test_the_default_handler_gets_all_that_the_client_put_there(encoded: bool) -> None:
    whole: dict[str, Any] = {"body": 5, "own": [1]}
    async with staged() as stage:
        connection, _ = stage.open()
        given = connection.encoder.codec.encode_value(whole) if encoded else whole
        _, _, message = stocked(stage).resolve(connection, Request(None, 5), "t", given)
        assert message.body == {"path": None, "body": 5, "correlationId": None, "metadata": None, "own": [1]}
