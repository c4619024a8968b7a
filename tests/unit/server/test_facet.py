"""The life of a server facet, its routes, probes and mounts, and what is inside the system alone."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mycelia import BaseSubsystem, BuildError, Forbidden, InvalidBody, Message, MessageSystem, NotRunning, RouteError
from mycelia.errors import EngineError
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.server import ServerSubsystem
from mycelia.server.engines.registry import load_http_engine
from mycelia.server.engines.seam import check_library_options
from mycelia.websocket import WebSocketSubsystem
from tests.support.certificates import issue
from tests.unit.server.support import Call, Stage, serving


def echo(body: Any) -> Any:
    return body


# -- routes --------------------------------------------------------------------------------------------


async def test_routes_before_and_after_build_and_for_every_build() -> None:
    stage = Stage({})
    stage.route("GET /before", lambda: "before")
    async with stage.system:
        stage.route("GET /after", lambda: "after")
        stage.facet.register_mycelia_route("GET", "/once", "app://after")
        for name in ("before", "after", "once"):
            assert (await stage.ask(f"GET /{name}")).status == 200
        assert {each.text for each in stage.facet.get_routes()} == {"GET /before", "GET /after", "GET /once"}
        assert stage.facet.unregister_mycelia_route("GET", "/once")
        assert not stage.facet.unregister_mycelia_route("GET", "/once")
        assert (await stage.ask("GET /once")).status == 404
    assert (await stage.ask("GET /before")).status == 503
    async with stage.system:
        assert (await stage.ask("GET /after")).data == "after"


async def test_what_a_route_requires_holds_in_every_build() -> None:
    stage = Stage({})
    stage.route("GET /x", lambda: "secret", requires=iter(["admin"]))
    for _ in range(2):
        async with stage.system:
            assert (await stage.ask("GET /x")).status == 401


async def test_a_forgotten_lifespan_is_said_once_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    stage, other = Stage({}), Stage({})
    async with stage.system:
        await stage.facet.stop()
        assert (await stage.ask("GET /x")).status == 503
    assert (await stage.ask("GET /x")).status == 503
    assert [each for each in caplog.records if each.name == "mycelia.serving"] == []
    for _ in range(2):
        assert (await other.ask("GET /x")).status == 503
    [said] = [each.getMessage() for each in caplog.records if each.name == "mycelia.serving"]
    assert "'server' came before the message system was started" in said


def test_what_is_wrong_with_a_registration_is_said_at_once() -> None:
    server = ServerSubsystem(config={"server": {"type": "asgi"}})
    for path, target in (("users", "user://get"), ("/users", "user/get"), ("/x/<int:id>", "user://get/{id}")):
        with pytest.raises(RouteError):
            server.register_mycelia_route("GET", path, target)
    with pytest.raises(RouteError, match=r"health\.ready"):
        server.register_mycelia_route("GET", "/ready", "user://get")
    for wrong in ("admin", "/admin/", "/a?b", None):
        with pytest.raises(RouteError, match="expected a prefix"):
            server.mount(wrong, page)  # type: ignore[arg-type]  # None is one of them
    assert server.registrations == []


async def test_a_taken_route_and_a_probe_are_not_taken_twice() -> None:
    async with serving(lambda stage: stage.route("GET /x", echo)) as stage:
        with pytest.raises(RouteError, match="already registered"):
            stage.facet.register_mycelia_route("GET", "/x", "app://other")
        stage.facet.register_mycelia_route("GET", "/x", "app://other", replace=True)
        with pytest.raises(RouteError, match=r"health\.ready"):
            stage.facet.register_mycelia_route("GET", "/ready", "app://x")
        stage.facet.register_mycelia_route("POST", "/ready", "app://x")


async def test_subsystems_register_routes_by_message_and_clients_do_not() -> None:
    async with serving() as stage:
        stage.app.register_route("app://x/{id}", lambda id: id)
        body = {"method": "GET", "path": "/x/{id}", "target": "app://x/{id}", "status": 202}
        said = await stage.system.send(Message("server://route/register", body))
        assert said == {"method": "GET", "path": "/x/{id}", "target": "app://x/{id}"}
        answer = await stage.ask("GET /x/7")
        assert (answer.status, answer.data) == (202, "7")
        for wrong in (None, {}, {"method": "GET", "path": "/x"}, {**body, "path": 7}):
            with pytest.raises(InvalidBody):
                await stage.system.send(Message("server://route/register", wrong))
        with pytest.raises(RouteError, match="unknown setting"):
            await stage.system.send(Message("server://route/register", {**body, "path": "/y/{id}", "public": True}))
        # Even where somebody opens it, it is not for clients.
        stage.facet.register_mycelia_route("POST", "/register", "server://route/register")
        refused = await stage.ask("POST /register", body)
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
        [route] = [each for each in stage.http.routes if each.path == "server://route/register"]
        assert not any(each.expose for each in stage.http.routes)
        client = Options(caller=Caller("client", "c"))
        token = CURRENT.set((route, Message("server://x"), client))
        try:
            with pytest.raises(Forbidden):
                route.call(Message("server://route/register", body), {}, client)
        finally:
            CURRENT.reset(token)


# -- probes --------------------------------------------------------------------------------------------


async def test_probes_over_http_and_as_messages() -> None:
    async with serving() as stage:
        for kind, key in (("health", "healthy"), ("ready", "ready"), ("live", "live")):
            answer = await stage.ask(f"GET /{kind}")
            assert (answer.status, answer.data) == (200, {key: True})
            assert (await stage.ask(f"HEAD /{kind}")).body == b""
            assert (await stage.ask(f"POST /{kind}")).status == 404
            assert (await stage.system.send(Message(f"server://{kind}")))[key] is True
        report = await stage.system.send(Message("server://health"))
        assert report["subsystems"]["server"]["checks"] == {"accepting": True}
        health = stage.app.find("health")
        health.add("database", lambda: False)
        for kind in ("health", "ready"):
            answer = await stage.ask(f"GET /{kind}")
            assert (answer.status, answer.code) == (503, "OVERLOADED")
            assert b"database" not in answer.body
        assert (await stage.ask("GET /live")).status == 200


async def test_a_check_runs_once_for_all_who_ask_and_nobody_waits_who_has_left() -> None:
    runs = 0
    began = asyncio.Event()

    async def check() -> bool:
        nonlocal runs
        runs += 1
        began.set()
        await asyncio.Event().wait()
        return True

    async with serving() as stage:
        stage.app.find("health").add("database", check)
        calls = [stage.call(f"GET /{kind}") for kind in ("health", "ready") * 10]
        await asyncio.wait_for(began.wait(), 5)
        for _ in range(3):
            await asyncio.sleep(0)
        for call in calls:
            call.say({"type": "http.disconnect"})
            await call.ended()
            assert call.sent == []
        assert runs == 1
        stage.app.find("health").remove("database")


async def test_probes_may_tell_more_be_elsewhere_or_nowhere() -> None:
    config = {"health": "/-/health", "ready": None, "details": True}
    async with serving(lambda stage: stage.route("GET /ready", lambda: "mine"), health=config) as stage:
        assert "subsystems" in (await stage.ask("GET /-/health")).data
        assert (await stage.ask("GET /health")).status == 404
        assert (await stage.ask("GET /ready")).data == "mine"
        assert (await stage.system.send(Message("server://ready"))) == {"ready": True}


# -- mounts and neighbours -----------------------------------------------------------------------------


async def page(scope: Any, receive: Any, send: Any) -> None:
    body = f"{scope['root_path']} {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def test_other_applications_have_their_prefix() -> None:
    stage = Stage({})
    stage.http.mount("/admin", page)
    stage.route("GET /administrator", lambda: "ours")
    async with stage.system:
        assert (await stage.ask("GET /admin")).body == b"/admin /admin"
        assert (await stage.ask("GET /admin/users?x=1")).body == b"/admin /admin/users"
        assert (await stage.ask("GET /administrator")).data == "ours"
        for wrong in ("admin", "/admin/", "/a?b", "", "/admin"):
            with pytest.raises(RouteError):
                stage.facet.mount(wrong, page)


async def test_a_prefix_may_have_letters_that_are_percent_encoded() -> None:
    async with serving() as stage:
        stage.http.mount("/größe", page)
        assert (await stage.ask("GET /gr%C3%B6%C3%9Fe/x")).body.decode() == "/größe /größe/x"
        assert (await stage.ask("GET /gr%C3%B6%C3%9Fer")).status == 404


async def test_it_may_be_mounted_itself() -> None:
    stage = Stage({"server": {"static": {"/files": "docs"}}})
    stage.route("GET /users/{id}", lambda message: message.metadata.client.path)
    outer = Starlette(routes=[Mount("/api", stage.http.asgi)])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://here.example") as client:
        assert (await client.get("/api/users/7")).status_code == 503
        async with stage.system:
            assert (await client.get("/api/users/7")).json()["data"] == "/users/7"
            assert (await client.get("/api/ready")).status_code == 200
            assert (await client.get("/api/files/index.md")).text.startswith("# Mycelia")
            assert (await client.get("/api/users")).status_code == 404
            assert (await client.get("/users/7")).status_code == 404


async def test_the_policy_and_the_middleware_of_the_system_hold_here_too() -> None:
    asked: list[Any] = []

    def policy(message: Message, principal: Any, route: Any) -> bool:
        asked.append((message.path, principal))
        return message.path != "app://closed"

    async def middleware(message: Message, options: Any, call_next: Any) -> Any:
        return f"around {await call_next()}"

    stage = Stage({})
    config = {"websocket": {"type": "asgi"}, "routing": {"policy": policy}}
    WebSocketSubsystem("websocket", ms=stage.system, config=config)
    stage.system.use(middleware)
    stage.route("GET /open", lambda: 1)
    stage.route("GET /closed", lambda: 2)
    async with stage.system:
        assert (await stage.ask("GET /open")).data == "around 1"
        refused = await stage.ask("GET /closed")
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert asked == [("app://open", None), ("app://closed", None)]


async def test_a_full_queue_is_an_overload() -> None:
    system = MessageSystem("main")
    slow = BaseSubsystem("slow", ms=system, queue={"capacity": 1, "concurrency": 1})
    server = ServerSubsystem("server", ms=system, config={"server": {"type": "asgi"}})
    go = asyncio.Event()

    async def wait() -> str:
        await go.wait()
        return "done"

    slow.register_route("slow://wait", wait)
    server.register_mycelia_route("GET", "/wait", "slow://wait")
    async with system:
        calls = [Call(server.asgi, "GET", "/wait", None, {}) for _ in range(5)]
        await calls[-1].ended()
        go.set()
        answers = [await call.answer() for call in calls]
    assert sorted({each.status for each in answers}) == [200, 503]


async def test_a_socket_where_there_is_none_is_refused() -> None:
    async with serving() as stage:
        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {"type": "websocket", "path": "/ws", "extensions": {"websocket.http.response": {}}}
        await stage.http.asgi(scope, stage.call, send)  # type: ignore[arg-type]  # nobody asks for more
        assert sent[0]["status"] == 404
        with pytest.raises(ValueError, match="lifespan, websocket or http"):
            await stage.http.asgi({"type": "smtp"}, stage.call, send)  # type: ignore[arg-type]  # as above


# -- life ----------------------------------------------------------------------------------------------


async def test_start_and_stop() -> None:
    stage = Stage({})
    await stage.http.build()
    assert (stage.facet.is_running(), stage.facet.is_accepting()) == (False, False)
    await stage.facet.start()
    assert (stage.facet.is_running(), stage.facet.is_accepting()) == (True, True)
    assert (stage.facet.get_address(), stage.facet.get_port()) == (None, None)
    with pytest.raises(NotRunning):
        await stage.facet.start()
    await stage.facet.stop()
    await stage.facet.stop()
    assert not stage.facet.is_running()
    await stage.facet.start()
    assert stage.http.find("statistics").snapshot()["server"]["accepting"] is True
    await stage.http.dispose()


async def test_under_anothers_server_a_place_of_its_own_has_no_effect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = {"unix_socket": str(tmp_path / "app.sock"), "tls": issue(tmp_path).config}
    server = ServerSubsystem("server", ms=MessageSystem("main"), config={"server": place})
    await server.build()
    server.asgi.is_hosted = True
    await server.server.start()
    assert "server.tls and server.unix_socket have no effect" in caplog.text
    assert server.server.get_urls() == [] and not os.path.exists(tmp_path / "app.sock")  # noqa: ASYNC240
    await server.dispose()


async def test_without_tls_there_is_nothing_to_renew() -> None:
    async with serving() as stage:
        stage.facet.reload_certificates()


async def test_without_a_system_there_is_nobody_to_ask() -> None:
    with pytest.raises(BuildError, match="ms=MessageSystem"):
        await ServerSubsystem().build()


@pytest.mark.parametrize("kind", ["uvicorn", "granian", "hypercorn"])
async def test_a_library_that_is_not_there_is_named_with_the_command(kind: str, monkeypatch: Any) -> None:
    import sys

    for name in [kind, *(each for each in sys.modules if each.startswith(f"{kind}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"mycelia.server.engines.{kind}", raising=False)
    system = MessageSystem("main")
    server = ServerSubsystem("server", ms=system, config={"server": {"type": kind, "host": "127.0.0.1", "port": 0}})
    await server.build()
    with pytest.raises(EngineError, match=rf"pip install 'mycelia\[{kind}\]'"):
        await server.server.start()
    assert not server.server.is_running()
    await server.dispose()


@pytest.mark.parametrize("kind", ["uvicorn", "granian", "hypercorn"])
async def test_an_unknown_option_of_a_library_leaves_nothing_behind(kind: str) -> None:
    system = MessageSystem("main")
    config = {"type": kind, "host": "127.0.0.1", "port": 0, "options": {"prot": 1}}
    server = ServerSubsystem("server", ms=system, config={"server": config})
    await server.build()
    with pytest.raises(EngineError, match="unknown option 'prot'"):
        await server.server.start()
    assert not server.server.is_running() and server.server.get_port() is None
    await server.dispose()


def test_options_that_are_ours_are_not_the_librarys() -> None:
    known, ours = frozenset({"a"}), frozenset({"ssl_certfile", "workers", "uds", "log_level"})
    for option, told in {
        "b": "unknown option 'b' for the server x; known: a",
        "ssl_certfile": "the option 'ssl_certfile' of the server x is reserved; set server.tls instead",
        "uds": "the option 'uds' of the server x is reserved; set server.unix_socket instead",
        "log_level": "the option 'log_level' of the server x is reserved, and no key sets it",
        "workers": "the server x takes no option 'workers': it runs in this one process; start several processes",
    }.items():
        with pytest.raises(EngineError, match=re.escape(told)):
            check_library_options("x", {option: "y"}, known, ours)
    assert load_http_engine("uvicorn").name == "uvicorn"


async def test_the_start_says_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /read", echo)
        stage.route("POST /open", echo)
        stage.route("POST /safe/{id}", echo, safe=True)
        stage.route("POST /known", echo, authenticated=True)
        stage.route("POST /right", echo, requires={"x"})
        stage.http.register_mycelia_route("PUT", "/missing", "app://missing")

    caplog.set_level(logging.INFO, "mycelia.server")
    async with serving(setup):
        pass
    told = {each.levelname: each.getMessage() for each in caplog.records if " can call" in each.getMessage()}
    assert "GET /read → app://read" in told["INFO"] and "POST /right → app://right" in told["INFO"]
    assert "state-changing routes: PUT /missing, POST /open. " in told["WARNING"]


async def test_the_start_says_which_targets_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    there = ("app://users/{id}", "app://me/{id}/posts", "app://files/*", "app://list/all", "app://one")
    answered = (
        "app://users/{name}", "app://users/me", "app://me/{a}/{b}", "app://{a}/{b}", "app://files/{a}/b",
        "app://list/{which}", "app://one", "server://health",
    )  # fmt: skip
    lost = (
        "app://user/{id}", "app://users", "app://users/{id}/x", "app://files", "app://list/none", "nobody://x",
        "late://x", "App://one",
    )  # fmt: skip

    def setup(stage: Stage) -> None:
        for path in there:
            stage.app.register_route(path, echo)
        for number, target in enumerate((*answered, *lost)):
            stage.http.register_mycelia_route("GET", f"/{number:02}", target)

    stage = Stage({})
    setup(stage)
    late = BaseSubsystem("late", ms=stage.system)
    late.register_route("late://x", echo)
    await stage.app.build()
    await stage.http.build()
    await stage.facet.start()
    [warning] = [each.getMessage() for each in caplog.records if "without a handler" in each.getMessage()]
    named = ", ".join(f"GET /{number:02} → {target}" for number, target in enumerate(lost, len(answered)))
    assert warning == f"HTTP routes without a handler (they return 404 until a subsystem registers the target): {named}"
    await stage.facet.stop()
    await late.build()
    caplog.clear()
    await stage.facet.start()
    assert "App://one" in caplog.text and "late://x" not in caplog.text
    await stage.system.dispose()
