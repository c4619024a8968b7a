"""`connect`, `error` and `disconnect` exactly once, and start, stop and dispose, over real sockets."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import weakref
from datetime import UTC
from typing import Any

import pytest

from mycelia.errors import ConnectionNotFound, HandlerError
from mycelia.protocol.ws.frames import Opcode, mask_frame
from tests.integration.harness import App, Client, each_engine, handshake, serving, until, within

ALL = ("connect", "error", "disconnect")


def record_all(app: App) -> None:
    app.record(*ALL)


# -- exactly once ------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize(
    ("how", "code", "fault"),
    [
        ("client closes", 1000, False),
        ("client closes without a code", 1005, False),
        ("client aborts", 1006, True),
        ("client resets", 1006, True),
        ("client breaks the protocol", None, True),
        ("server closes", 4410, False),
        ("server closes, client vanishes", None, False),
        ("server stops", 1001, False),
    ],
)
async def test_connect_error_and_disconnect_exactly_once(engine: str, how: str, code: int | None, fault: bool) -> None:
    async with serving(engine, record_all) as app:
        async with app.client() as client:
            await app.heard("connect")
            await _end(how, app, client)
            [body] = await app.heard("disconnect")
        await app.facet.stop()
        assert app.events == ["connect", *(["error"] if fault else []), "disconnect"]
        assert len({identity for _, identity, _ in app.told}) == 1
        assert body["accepted"] is True
        assert code is None or body["code"] == code


async def _end(how: str, app: App, client: Client) -> None:
    match how:
        case "client closes":
            await client.close(1000)
        case "client closes without a code":
            await client.send_frame(Opcode.CLOSE)
            assert await client.closed() == (1005, "")
        case "client aborts":
            client.leave()
        case "client resets":
            client.reset()
        case "client breaks the protocol":
            await client.write(b"\x81\x01x")
            await client.closed()
            client.leave()
        case "server closes":
            app.only().close(4410, "removed")
            assert await client.closed() == (4410, "removed")
            await client.send_frame(Opcode.CLOSE, (4410).to_bytes(2))
        case "server closes, client vanishes":
            app.only().close(4410)
            client.leave()
        case "server stops":
            stopping = asyncio.create_task(app.facet.stop())
            assert (await client.closed())[0] == 1001
            await client.send_frame(Opcode.CLOSE, (1001).to_bytes(2))
            await within(stopping)


@each_engine
@pytest.mark.parametrize("how", ["client closes", "client aborts", "server stops", "server closes"])
async def test_a_client_that_goes_while_connect_runs(engine: str, how: str) -> None:
    async def connect(message: Any, params: Any, options: Any) -> None:
        app.note("connect", options.connection_id)
        try:
            await options.connection.send({"event": "welcome"})
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            app.note("cancelled", options.connection_id)
            raise

    async with serving(engine) as app:
        app.record("disconnect")
        app.facet.on_connect(connect)
        async with app.client() as client:
            await app.heard("connect")
            connection = app.facet.get_connection(app.told[0][1])
            assert connection is not None
            if how == "client closes":
                await client.close(1000)
            elif how == "client aborts":
                client.leave()
            elif how == "server closes":
                connection.close(4410)
                assert (await client.closed())[0] == 4410
                await client.send_frame(Opcode.CLOSE, (4410).to_bytes(2))
            else:
                stopping = asyncio.create_task(app.facet.stop())
                assert (await client.closed())[0] == 1001
                await client.send_frame(Opcode.CLOSE, (1001).to_bytes(2))
                await within(stopping)
            [body] = await app.heard("disconnect")
        await app.facet.stop()
        assert app.events == ["connect", "cancelled", "disconnect"]
        assert body["accepted"] is False and not connection.accepted


@each_engine
@pytest.mark.parametrize("leave", [Client.leave, Client.reset])
async def test_nothing_is_kept_of_a_connection_that_is_gone(engine: str, leave: Any) -> None:
    async with serving(engine) as app:
        app.record("disconnect")
        async with app.client() as client:
            await client.request("app://echo", [1, 2])
            held = weakref.ref(app.only())
            leave(client)
            await app.heard("disconnect")
        await until(lambda: gc.collect() >= 0 and held() is None)


@each_engine
async def test_what_is_in_memory_before_a_server_starts_is_set_aside_until_it_stops(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("collect", "freeze", "unfreeze"):  # in place of the collector, which would walk all tests
        monkeypatch.setattr(gc, name, functools.partial(done.append, name))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: done.count("freeze") - done.count("unfreeze"))
    async with serving(engine) as first:
        assert done == ["collect", "freeze"]
        async with serving(engine):
            assert done == ["collect", "freeze"], "the clients of the first server are not set aside"
        assert done == ["collect", "freeze"], "nor is anything thawed while it runs"
        await first.facet.stop()
        assert done == ["collect", "freeze", "unfreeze"]
        await first.facet.start()
        assert done[3:] == ["collect", "freeze"]
    assert done[5:] == ["unfreeze"]


@each_engine
async def test_nothing_is_kept_of_a_connection_whose_connect_broke_when_it_was_cancelled(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "mycelia.websocket")  # a kept record would keep the connection

    async def connect(message: Any, params: Any, options: Any) -> None:
        app.note("connect", options.connection_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("while it was cancelled") from None

    async with serving(engine) as app:
        app.record("disconnect")
        app.facet.on_connect(connect)
        async with app.client() as client:
            await app.heard("connect")
            connection = app.facet.get_connection(app.told[0][1])
            assert connection is not None
            held = weakref.ref(connection)
            del connection
            client.leave()
            await app.heard("disconnect")
        assert app.events == ["connect", "disconnect"]
        await until(lambda: gc.collect() >= 0 and held() is None)
        await app.facet.stop()


@each_engine
async def test_disconnect_comes_after_the_handlers_of_the_connection_have_ended(engine: str) -> None:
    async def slow(message: Any, params: Any, options: Any) -> None:
        app.note("began")
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            app.note("ended")

    async with serving(engine) as app:
        app.record("disconnect")
        for name in ("concurrent", "isolated", "ordered"):
            settings = {} if name == "ordered" else {name: True}
            app.routes.register_route(f"app://{name}", slow, expose=True, **settings)  # type: ignore[arg-type]
        for count, name in enumerate(("ordered", "isolated", "concurrent"), 1):
            async with app.client() as client:
                await client.json({"path": f"app://{name}"})
                await app.heard("began", count)
                client.leave()
                await app.heard("disconnect", count)
            assert app.events[-3:] == ["began", "ended", "disconnect"], name


@each_engine
async def test_error_and_disconnect_handlers_that_raise_do_not_stop_the_rest(engine: str) -> None:
    def broken(message: Any, params: Any, options: Any) -> None:
        raise ValueError

    def setup(app: App) -> None:
        app.sockets.register_route("websocket://error", broken)
        app.sockets.register_route("websocket://disconnect", broken)

    async with serving(engine, setup) as app:
        app.facet.on_error(lambda message, params, options: app.note("error"))
        app.facet.on_disconnect(lambda message, params, options: app.note("disconnect"))
        async with app.client() as client:
            connection_id = app.only().id
            client.leave()
            await app.heard("disconnect")
        assert app.events == ["error", "disconnect"]
        await until(lambda: app.facet.get_connection(connection_id) is None)


# -- connect -----------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("protocol", [None, "mycelia.v1.json", "mycelia.v1.msgpack"])
async def test_a_welcome_sent_in_connect_comes_after_websocket_connected(engine: str, protocol: str | None) -> None:
    async def connect(message: Any, params: Any, options: Any) -> None:
        await options.connection.send({"event": "welcome", "data": options["connectionId"]})
        await asyncio.sleep(0)
        await options.connection.send({"event": "second"})

    async with (
        serving(engine, lambda app: app.sockets.register_route("websocket://connect", connect)) as app,
        app.client(protocols=[protocol] if protocol else []) as client,
    ):
        if protocol:
            hello = await client.receive()
            assert hello["event"] == "websocket.connected"
            assert hello["data"]["connectionId"] == app.only().id
            assert set(hello["data"]["heartbeat"]) == {"interval", "timeout"}
        welcome = await client.receive()
        assert (welcome["event"], welcome["data"]) == ("welcome", app.only().id)
        assert (await client.receive())["event"] == "second"
        assert (await client.request("app://echo", b"x" if client.binary else "x"))["success"]


@each_engine
async def test_the_body_of_connect_describes_the_handshake_without_its_secrets(engine: str) -> None:
    async with serving(engine, record_all) as app:
        headers = {"Cookie": "session=secret", "Authorization": "Bearer s3cret", "X-Seen": "yes"}
        async with app.client("/ws?room=1&token=other", headers=headers):
            [body] = await app.heard("connect")
            assert set(body) == {"token", "query", "headers", "remoteAddress", "url"}
            assert body["token"] == "s3cret"
            assert body["query"] == {"room": "1"} and body["url"] == "/ws?room=1"
            assert body["remoteAddress"] == "127.0.0.1" and body["headers"]["x-seen"] == "yes"
            shown = str([{**body, "token": None}, app.only().metadata, app.only().client])
            assert not any(secret in shown for secret in ("s3cret", "session", "other"))


@each_engine
async def test_the_route_and_the_registered_handlers_of_connect_all_run_in_order(engine: str) -> None:
    def handler(name: str, answer: Any = None) -> Any:
        def run(message: Any, params: Any, options: Any) -> Any:
            app.note(name)
            return answer

        return run

    def setup(app: App) -> None:
        app.sockets.register_route("websocket://connect", handler("route"))

    async with serving(engine, setup) as app:
        app.facet.on_connect(handler("first", {"success": True}))
        app.facet.register_connection_handler("connect", handler("second", 0))
        async with app.client() as client:
            assert (await client.request("app://echo", 0))["data"] == 0
            assert app.events == ["route", "first", "second"]
        app.facet.on_connect(handler("refuses", {"success": False}))
        app.facet.on_connect(handler("never asked"))
        async with app.client() as client:
            assert (await client.closed())[0] == 4401
        await until(lambda: app.facet.get_connection_count() == 0)
        assert app.events[3:] == ["route", "first", "second", "refuses"]
        await app.facet.stop()


@each_engine
async def test_a_failure_below_connect_that_is_no_refusal_is_an_internal_error(engine: str) -> None:
    def setup(app: App) -> None:
        down = {"success": False, "error": {"code": "DOWN", "message": "the database is down"}}
        app.routes.register_route("app://look-up", lambda m, p, o: down)
        app.record("disconnect")

    async def connect(message: Any, params: Any, options: Any) -> None:
        raise HandlerError("the database is down", code="DOWN", path="app://look-up")

    async with serving(engine, setup) as app:
        app.facet.on_connect(connect)
        async with app.client() as client:
            assert await client.closed() == (1011, "connect failed")
        await app.heard("disconnect")
        await app.facet.stop()


@each_engine
async def test_the_connection_is_readable_in_disconnect_and_gone_afterwards(engine: str) -> None:
    seen: dict[str, Any] = {}

    async def connect(message: Any, params: Any, options: Any) -> None:
        options.connection.metadata["userId"] = "u1"

    async def disconnect(message: Any, params: Any, options: Any) -> None:
        connection = options.connection
        seen.update(connection.metadata, same=app.facet.get_connection(options.connection_id) is connection)
        seen["listed"] = connection in app.facet.get_all_connections()
        seen["times"] = connection.connected_at <= connection.last_activity
        seen["zone"] = connection.connected_at.tzinfo
        with pytest.raises(ConnectionNotFound):
            await connection.send({"event": "too late"})
        with pytest.raises(ConnectionNotFound):
            await connection.request("client://late")
        connection.close()
        connection.ping()
        app.note("disconnect", options.connection_id)

    async with serving(engine) as app:
        app.facet.on_connect(connect)
        app.facet.on_disconnect(disconnect)
        async with app.client() as client:
            await client.request("app://echo")
            connection_id = app.only().id
            await client.close()
            await app.heard("disconnect")
        expected = {"userId": "u1", "same": True, "listed": False, "times": True, "zone": UTC}
        assert seen == expected
        await until(lambda: app.facet.get_connection(connection_id) is None)
        with pytest.raises(ConnectionNotFound):
            await app.facet.send(connection_id, {"event": "x"})
        await app.facet.stop()


@each_engine
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_close_code_that_may_not_be_sent_raises_and_changes_nothing(engine: str, code: int) -> None:
    async with serving(engine) as app, app.client() as client:
        connection = app.only()
        with pytest.raises(ValueError):
            connection.close(code)
        with pytest.raises(ValueError):
            app.facet.close_connection(connection.id, code)
        assert (await client.request("app://echo", 1))["data"] == 1
        connection.close(4000, "é" * 200)
        closed, reason = await client.closed()
        assert closed == 4000 and reason == "é" * 61


@each_engine
async def test_a_handler_that_closes_its_own_connection_has_its_earlier_replies_sent(engine: str) -> None:
    def setup(app: App) -> None:
        app.record("disconnect")
        app.routes.register_route("app://bye", lambda m, p, o: o.connection.close(4000, "bye"), expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        await client.write(b"".join([_text(b'{"path":"app://echo","body":1}'), _text(b'{"path":"app://bye"}')] * 2))
        assert (await client.receive())["data"] == 1
        assert await client.closed() == (4000, "bye")
        await client.send_frame(Opcode.CLOSE, (4000).to_bytes(2))
        await app.heard("disconnect")


def _text(payload: bytes) -> bytes:
    return mask_frame(Opcode.TEXT, payload, b"abcd")


@each_engine
async def test_duplicate_ids_are_refused(engine: str) -> None:
    async with serving(engine, connection={"generateConnectionId": lambda request: "same"}) as app:
        async with app.client() as client:
            async with Client.socket(app.port) as other:
                await other.write(handshake())
                assert (await other.rest()).startswith(b"HTTP/1.1 500 ")
            assert (await client.request("app://echo", 1))["data"] == 1
            await client.close()
        await until(lambda: app.facet.get_connection("same") is None)


# -- start, stop, dispose ----------------------------------------------------------------------------------


@each_engine
@pytest.mark.every_loop
async def test_start_stop_start(engine: str) -> None:
    async with serving(engine, record_all) as app:
        for _ in range(3):
            port = app.port
            async with app.client() as client:
                await client.request("app://echo", 1)
                stopping = asyncio.create_task(app.facet.stop())
                assert await client.closed() == (1001, "the server is stopping")
                await client.send_frame(Opcode.CLOSE, (1001).to_bytes(2))
                await within(stopping)
            assert not app.facet.is_running() and app.facet.get_port() is None
            await app.facet.stop()
            with pytest.raises(ConnectionRefusedError):
                async with Client.socket(port):
                    pass
            await app.facet.start()
        assert app.events == ["connect", "disconnect"] * 3


@each_engine
async def test_stop_does_not_wait_for_ever(engine: str) -> None:
    started = asyncio.Event()

    async def stubborn(message: Any, params: Any, options: Any) -> None:
        started.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                app.note("cancelled")

    released = asyncio.Event()
    async with serving(engine, record_all, connection={"close_timeout": 0.2}) as app:
        app.routes.register_route("app://stubborn", stubborn, expose=True)
        async with app.client() as client, Client.socket(app.port) as half_open:
            await client.json({"path": "app://stubborn"})
            await within(started.wait())
            await half_open.write(handshake()[:-4])
            await within(app.facet.stop())  # the client answers no Close, the handler no cancellation
            assert app.facet.get_connection_count() == 0
            released.set()
        await app.heard("disconnect")


@each_engine
async def test_a_stop_tells_disconnect_of_who_has_said_goodbye_and_whose_handler_never_ends(engine: str) -> None:
    began = asyncio.Event()

    async def endless(message: Any, params: Any, options: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            app.note("cancelled")

    async def disconnect(message: Any, params: Any, options: Any) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        app.note("disconnect")

    async with serving(engine, connection={"close_timeout": 0.2}) as app:
        app.routes.register_route("app://endless", endless, expose=True)
        app.facet.on_disconnect(disconnect)
        async with app.client() as client:
            connection_id = app.only().id
            await client.json({"path": "app://endless"})
            await within(began.wait())
            await client.close()
            assert await client.rest() == b""  # its connection has ended, its handler goes on
        await within(app.facet.stop())
        assert app.events == ["cancelled", "disconnect"]
        assert app.facet.get_connection(connection_id) is None


@each_engine
async def test_dispose_closes_the_port_and_build_opens_it_again(engine: str) -> None:
    async with serving(engine, record_all) as app:
        port = app.port
        async with app.client() as client:
            disposing = asyncio.create_task(app.sockets.dispose())
            assert (await client.closed())[0] == 1001
            await client.send_frame(Opcode.CLOSE, (1001).to_bytes(2))
            await within(disposing)
        await app.sockets.dispose()
        with pytest.raises(ConnectionRefusedError):
            async with Client.socket(port):
                pass
        await app.sockets.build()
        await app.facet.start()
        async with app.client() as client:
            assert (await client.request("app://echo", 2))["data"] == 2


@each_engine
async def test_async_with_system_listens_and_stops(engine: str) -> None:
    app = App({"websocket": {"type": engine, "host": "127.0.0.1", "port": 0}})
    app.routes.register_route("app://hi", lambda message, params, options: "hi", expose=True)
    for _ in range(2):
        async with app.system:
            port = app.port
            async with app.client() as client:
                assert (await client.request("app://hi"))["data"] == "hi"
                await client.close()
        with pytest.raises(ConnectionRefusedError):
            async with Client.socket(port):
                pass
