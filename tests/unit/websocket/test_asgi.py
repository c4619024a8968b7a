"""`subsystem.asgi`: endpoints by path, the lifespan, and life beside another application."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mycelia import BaseSubsystem, ConfigError, MessageSystem
from mycelia.websocket import WebSocketSubsystem
from tests.unit.transports.asgi_server import Visit, websocket_scope

LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0"}}


def make(*paths: str, kind: str = "asgi") -> tuple[MessageSystem, WebSocketSubsystem]:
    system = MessageSystem("main")
    endpoints = [{"type": kind, "path": path} for path in paths or ("/ws",)]
    return system, WebSocketSubsystem("websocket", ms=system, config={"websocket": endpoints})


def plain(path: str, **more: Any) -> dict[str, Any]:
    return {**websocket_scope(path, **more), "type": "http", "method": "GET"}


async def status(sockets: WebSocketSubsystem, scope: dict[str, Any]) -> int:
    """How a request is answered; 101 for a handshake that is accepted."""
    visit = Visit(scope)
    visit.begin(sockets.asgi)
    await visit.until(lambda: visit.sent)
    if visit.sent[0]["type"] == "websocket.accept":
        visit.leave()
    await visit.ended()
    return int(visit.sent[0].get("status", 101))


async def test_it_is_always_the_same_and_needs_an_endpoint_for_it() -> None:
    _, sockets = make()
    assert sockets.asgi is sockets.asgi
    _, others = make(kind="memory")
    with pytest.raises(ConfigError, match=r"expected an endpoint that an ASGI server can serve \(asgi, .*, got memory"):
        _ = others.asgi


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("/ws", "", 101),
        ("/ws/", "", 101),  # as Litestar has it
        ("/live/ws", "/live", 101),
        ("/ws/", "/ws", 101),  # mounted at its own path
        ("/api/ws", "/api/ws", 101),
        ("/", "", 404),
        ("/live/", "/live", 404),
        ("/ws/more", "", 404),
        ("/other", "", 404),
        ("/second", "", 101),
    ],
)
async def test_endpoints_are_found_by_their_path(path: str, root: str, wanted: int) -> None:
    system, sockets = make("/ws", "/second")
    async with system:
        assert await status(sockets, websocket_scope(path, root_path=root)) == wanted


@pytest.mark.parametrize(
    ("endpoints", "wanted"),
    [
        ((("asgi", "/live/ws"), ("sockjs", "/live")), {"/live/ws": 426, "/live/info": 200}),
        ((("asgi", "/ws"), ("socketio", "/")), {"/ws": 426, "/": 400}),
        ((("asgi", "/live"), ("sockjs", "/live/more")), {"/live": 426, "/live/more/info": 200}),
        ((("sockjs", "/live"), ("asgi", "/lively")), {"/live/info": 200, "/lively": 426}),
    ],
)
async def test_the_first_endpoint_that_has_a_path_gets_its_requests(
    endpoints: tuple[tuple[str, str], ...], wanted: dict[str, int]
) -> None:
    system, config = MessageSystem("main"), {"websocket": [{"type": kind, "path": path} for kind, path in endpoints]}
    sockets = WebSocketSubsystem("websocket", ms=system, config=config)
    async with system:
        assert {path: await status(sockets, plain(path)) for path in wanted} == wanted


async def test_plain_requests_are_told_what_is_here() -> None:
    system, sockets = make()
    async with system:
        assert await status(sockets, plain("/ws")) == 426
        assert await status(sockets, plain("/")) == 404
        assert sockets.websocket.get_port() is None and sockets.websocket.get_address() is None


async def test_nobody_is_served_before_the_start_and_after_the_end() -> None:
    system, sockets = make()
    assert (await status(sockets, websocket_scope()), await status(sockets, plain("/"))) == (503, 503)
    async with system:
        assert await status(sockets, websocket_scope()) == 101
        await sockets.websocket.stop()
        assert await status(sockets, websocket_scope()) == 503
    assert await status(sockets, websocket_scope()) == 503


async def test_a_forgotten_lifespan_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    system, sockets = make()
    for scope in (plain("/ws"), websocket_scope(), plain("/")):
        assert await status(sockets, scope) == 503
    [record] = caplog.records
    assert (record.name, record.levelname) == ("mycelia.serving", "WARNING")
    assert "'websocket' came before the message system was started" in record.getMessage()
    assert "async with system" in record.getMessage()
    _, others = make()
    assert await status(others, plain("/ws")) == 503
    assert len(caplog.records) == 2  # each application says it for itself
    async with system:
        assert await status(sockets, websocket_scope()) == 101


async def test_who_comes_while_it_stops_or_later_is_no_reminder(caplog: pytest.LogCaptureFixture) -> None:
    system, sockets = make()
    async with system:
        await sockets.websocket.stop()
        assert await status(sockets, plain("/ws")) == 503
    assert await status(sockets, plain("/ws")) == 503
    assert [record for record in caplog.records if record.name == "mycelia.serving"] == []


async def test_another_kind_of_scope_is_refused() -> None:
    _, sockets = make()
    with pytest.raises(ValueError, match="'mqtt'"):
        await sockets.asgi({"type": "mqtt"}, None, None)  # type: ignore[arg-type]


# -- the lifespan --------------------------------------------------------------------------------------


async def test_the_lifespan_starts_and_stops_the_system() -> None:
    _, sockets = make()
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.begin(sockets.asgi)
    await server.told("lifespan.startup.complete")
    assert sockets.websocket.is_running()
    server.say({"type": "lifespan.shutdown"})
    await server.ended()
    assert server.sent[-1] == {"type": "lifespan.shutdown.complete"}
    assert sockets.find("websocket") is None


async def test_a_start_that_fails_is_told() -> None:
    system, sockets = make()

    async def fail() -> None:
        raise RuntimeError("no database")

    BaseSubsystem("database", ms=system).on_init(fail)
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.begin(sockets.asgi)
    await server.ended()
    [told] = server.sent
    assert told["type"] == "lifespan.startup.failed" and told["message"]
    assert sockets.find("websocket") is None


async def test_an_end_that_fails_is_told() -> None:
    system, sockets = make()

    async def fail() -> None:
        raise RuntimeError("cannot let go")

    BaseSubsystem("database", ms=system).on_dispose(fail)
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.say({"type": "lifespan.shutdown"})
    server.begin(sockets.asgi)
    await server.ended()
    assert [each["type"] for each in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


async def test_without_a_system_there_is_nothing_to_start() -> None:
    sockets = WebSocketSubsystem("websocket", config={"websocket": {"type": "asgi"}})
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.begin(sockets.asgi)
    await server.ended()
    assert "expected ms=MessageSystem" in server.sent[0]["message"]


# -- beside another --------------------------------------------------------------------------------------


async def test_beside_another_application() -> None:
    system, sockets = make()
    elsewhere: list[str] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        elsewhere.append(f"{scope['type']} {scope['path']}")

    both = sockets.asgi.beside(other)
    async with system:
        for scope in (plain("/"), websocket_scope("/their/ws"), plain("/ws")):
            visit = Visit(scope)
            visit.begin(both)
            await visit.ended()
        visit = Visit(websocket_scope())
        visit.begin(both)
        await visit.told("websocket.accept")
        visit.leave()
        await visit.ended()
    assert elsewhere == ["http /", "websocket /their/ws"]
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.say({"type": "lifespan.shutdown"})
    server.begin(both)
    await server.ended()
    assert [each["type"] for each in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("/WS", "", 404),
        ("/ws%2f", "", 404),
        ("/./ws", "", 404),
        ("/x/../ws", "", 404),
        ("//ws", "", 404),
        ("/ws/../ws", "", 404),
        ("/ws\x00", "", 404),
        ("/ws", "/ws", 404),  # what is below the mount is "/", but then it would be the root of another
        ("/", "/foows", 404),  # the end of a name is not the name
        ("/live/ws/", "/live/", 101),
        ("/a/b/ws", "/a/b", 101),
        ("/a/b/ws", "/a", 404),
    ],
)
async def test_paths_that_look_alike_are_not(path: str, root: str, wanted: int) -> None:
    system, sockets = make("/ws")
    async with system:
        if (path, root) == ("/ws", "/ws"):
            wanted = 101  # Starlette's Mount("/ws") at exactly its path
        assert await status(sockets, websocket_scope(path, root_path=root)) == wanted


# -- what the host does ------------------------------------------------------------------------------------


async def test_a_host_may_enter_the_system_and_forward_its_lifespan_too() -> None:
    system, sockets = make()
    async with system:
        server = Visit(LIFESPAN)
        server.say({"type": "lifespan.startup"})
        server.begin(sockets.asgi)
        await server.told("lifespan.startup.complete")
        server.say({"type": "lifespan.shutdown"})
        await server.ended()
        assert await status(sockets, websocket_scope()) == 101  # whoever entered first leaves last
    assert await status(sockets, websocket_scope()) == 503


async def test_a_server_that_ends_without_a_start_leaves_nothing_running() -> None:
    _, sockets = make()
    server = Visit(LIFESPAN)
    server.say({"type": "lifespan.startup"})
    server.begin(sockets.asgi)
    await server.told("lifespan.startup.complete")
    assert server.task is not None
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.ended()
    assert sockets.find("websocket") is None


async def connected(sockets: WebSocketSubsystem) -> Visit:
    before = len(sockets.websocket.get_all_connections())
    visit = Visit(websocket_scope())
    visit.begin(sockets.asgi)
    async with asyncio.timeout(5.0):
        while len(sockets.websocket.get_all_connections()) == before:  # noqa: ASYNC110  # a few turns of the loop
            await asyncio.sleep(0)
    return visit


async def test_a_drain_tells_clients_to_come_back() -> None:
    system = MessageSystem("main")
    config = {"websocket": {"type": "asgi"}, "drain": {"window": 0.0}}
    sockets = WebSocketSubsystem("websocket", ms=system, config=config)
    async with system:
        visits = [await connected(sockets) for _ in range(3)]
        await sockets.websocket.drain()
        for visit in visits:
            assert (await visit.told("websocket.close"))["code"] == 1012
            await visit.ended()
        assert await status(sockets, websocket_scope()) == 503


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest", "disconnect"])
async def test_the_policies_for_slow_readers_hold_here_too(overflow: str) -> None:
    system = MessageSystem("main")
    config = {"websocket": {"type": "asgi"}, "connection": {"outbox_bytes": 500_000, "close_timeout": 0.05}}
    sockets = WebSocketSubsystem("websocket", ms=system, config=config)
    async with system:
        slow, other = await connected(sockets), await connected(sockets)
        slow.taking.clear()
        dropped = 0
        for number in range(20):
            message = {"event": "n", "data": f"{number:>70000}"}
            key = "k" if overflow == "latest" else None
            dropped += (await sockets.websocket.broadcast(message, overflow=overflow, key=key)).dropped
            await other.until(lambda number=number: len(other.messages) == number + 1)  # type: ignore[misc]
        slow.taking.set()
        if overflow == "disconnect":
            await slow.ended()
            assert sockets.websocket.get_connection_count() == 1
            return
        await slow.until(lambda: len(slow.messages) == 20 - dropped)
        got = [int(msgspec.json.decode(text)["data"]) for text in slow.messages]
        assert 0 < dropped < 20 and got[0] == 0 and got == sorted(got)
        assert (got[-1] == 19) is (overflow != "drop_newest")
