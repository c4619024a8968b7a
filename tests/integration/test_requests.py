"""Requests: order, overlap, bounds, deadlines, paths, transforms, and what runs a handler, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest

from mycelia import Message
from mycelia.errors import ConnectionNotFound, HandlerError, Overloaded, RequestTimeout
from mycelia.protocol.ws.frames import Opcode, mask_frame
from tests.integration.harness import App, Client, each_engine, handshake, serving, within
from tests.support.links import link_of


def request(path: str, body: Any = None, correlation_id: Any = None, **metadata: Any) -> bytes:
    """The frame of a request."""
    envelope = {"path": path, "body": body, "correlationId": correlation_id, "metadata": metadata}
    return mask_frame(Opcode.TEXT, json.dumps(envelope).encode(), b"mask")


class Gates:
    """Handlers that wait until the test lets them go on, and say when they began and ended."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.opened: dict[Any, asyncio.Event] = {}
        self.running = 0
        self.most = 0

    def open(self, *names: Any) -> None:
        for name in names:
            self.opened.setdefault(name, asyncio.Event()).set()

    async def handle(self, message: Any, params: Any, options: Any) -> Any:
        self.app.note(f"began {message.body}")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.opened.setdefault(message.body, asyncio.Event()).wait()
            self.app.note(f"ended {message.body}")
            return message.body
        except asyncio.CancelledError:
            self.app.note(f"cancelled {message.body}")
            raise
        finally:
            self.running -= 1

    def register(self, **settings: Any) -> None:
        self.app.routes.register_route("app://gate", self.handle, expose=True, **settings)


# -- order -------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.every_loop
async def test_replies_come_in_order_whatever_takes_how_long(engine: str) -> None:
    async def mixed(message: Any, params: Any, options: Any) -> Any:
        for _ in range(message.body % 4):
            await asyncio.sleep(0)
        return message.body

    def setup(app: App) -> None:
        app.routes.register_route("app://mixed", mixed, expose=True)
        app.routes.register_route("app://plain", lambda m, p, o: m.body, expose=True)
        app.routes.register_route("app://alone", mixed, expose=True, isolated=True)

    async with serving(engine, setup) as app, app.client() as client:
        paths = ("app://mixed", "app://plain", "app://alone", "app://echo", "app://none")
        await client.write(b"".join(request(paths[n % 5], n, n) for n in range(200)))
        assert [(await client.receive())["correlationId"] for _ in range(200)] == list(range(200))


@each_engine
async def test_a_reply_does_not_wait_for_a_later_slow_handler(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(request("app://echo", 1, 1) + request("app://echo", 2, 2) + request("app://gate", "g"))
        assert [(await client.receive())["data"] for _ in range(2)] == [1, 2]
        gates.open("g")
        assert (await client.receive())["data"] == "g"


@each_engine
async def test_pongs_and_closes_do_not_wait_behind_requests(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(request("app://gate", "g"))
        await app.heard("began g")
        await client.send_frame(Opcode.PING, b"alive?")
        frame = await client.frame()
        assert frame is not None and (frame.opcode, frame.payload) == (Opcode.PONG, b"alive?")
        await client.close()
        await app.heard("cancelled g")


@each_engine
async def test_concurrent_requests_overlap_up_to_the_cap(engine: str) -> None:
    async with serving(engine, connection={"concurrent_requests": 3}) as app, app.client() as client:
        gates = Gates(app)
        gates.register(concurrent=True)
        await client.write(b"".join(request("app://gate", n, n) for n in range(4)))
        refused = await client.receive()
        assert (refused["correlationId"], refused["error"]["code"]) == (3, "OVERLOADED")
        assert refused["error"]["retryable"] is True
        assert (await client.request("app://echo", "ordered"))["data"] == "ordered"
        for number in (2, 0, 1):
            gates.open(number)
            assert (await client.receive())["correlationId"] == number
        assert gates.most == 3
        gates.open(9)
        assert (await client.request("app://gate", 9))["data"] == 9


@each_engine
async def test_a_full_backlog_pauses_and_then_refuses_the_newest(engine: str) -> None:
    limits = {"backlog_requests": 4, "pause_timeout": 0.3}
    async with serving(engine, connection=limits) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(request("app://gate", 0, 0))
        await app.heard("began 0")
        await client.write(b"".join(request("app://gate", n, n) for n in range(1, 9)))
        refused = [await client.receive() for _ in range(5)]
        assert {answer["error"]["code"] for answer in refused} == {"OVERLOADED"}
        assert sorted(answer["correlationId"] for answer in refused) == [4, 5, 6, 7, 8]
        gates.open(*range(9))
        assert [(await client.receive())["correlationId"] for _ in range(4)] == [0, 1, 2, 3]
        assert (await client.request("app://echo", "on"))["data"] == "on"


@each_engine
async def test_a_backlog_is_bounded_in_bytes_too(engine: str) -> None:
    limits = {"backlog_bytes": 1000, "pause_timeout": 0.3}
    async with serving(engine, connection=limits) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(request("app://gate", 0, 0))
        await app.heard("began 0")
        await client.write(request("app://echo", "x" * 800, 1) + request("app://echo", "x" * 800, 2))
        assert (await client.receive())["correlationId"] == 2
        gates.open(0)
        assert [(await client.receive())["correlationId"] for _ in range(2)] == [0, 1]


@each_engine
async def test_a_relieved_backlog_refuses_nothing(engine: str) -> None:
    limits = {"backlog_requests": 4, "pause_timeout": 0.3}
    async with serving(engine, connection=limits) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(b"".join(request("app://gate", n, n) for n in range(9)))
        await app.heard("began 0")
        gates.open(*range(9))
        answers = [await client.receive() for _ in range(9)]
        assert [answer["correlationId"] for answer in answers] == list(range(9))
        assert all(answer["success"] for answer in answers)


@each_engine
async def test_a_refused_request_that_wants_no_reply_gets_none(engine: str) -> None:
    limits = {"backlog_requests": 2, "pause_timeout": 0.2}
    async with serving(engine, connection=limits) as app, app.client() as client:
        gates = Gates(app)
        gates.register()
        await client.write(request("app://gate", 0, 0))
        await app.heard("began 0")
        silent = [request("app://echo", n, n, noReply=True) for n in range(1, 5)]
        await client.write(b"".join([*silent, request("app://echo", 5, 5)]))
        assert (await client.receive())["correlationId"] == 5
        gates.open(0)
        assert (await client.receive())["correlationId"] == 0


@each_engine
async def test_a_request_that_comes_while_the_idle_worker_retires(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        for number in range(3):
            assert (await client.request("app://echo", number))["data"] == number
            connection = app.only()
            worker = link_of(connection).worker
            assert worker is not None
            for _ in range(100):
                if worker.is_idle:
                    break
                await asyncio.sleep(0)
            worker.retire()
            if number:  # first in the same turn of the loop, later when its task has ended
                await asyncio.wait(worker.tasks, timeout=5)
            link_of(connection).received(b'{"path":"app://echo","body":"same turn"}', False)
            assert (await client.receive())["data"] == "same turn"


# -- deadlines, replies, ids ---------------------------------------------------------------------------------


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize("settings", [{}, {"isolated": True}, {"concurrent": True}], ids=str)
async def test_timeout_ms_ends_the_handler(engine: str, settings: dict[str, Any]) -> None:
    async with serving(engine) as app, app.client() as client:
        Gates(app).register(**settings)
        answer = await client.request("app://gate", "g", metadata={"timeoutMs": 50})
        assert (answer["error"]["code"], answer["error"]["retryable"]) == ("TIMEOUT", True)
        assert app.events == ["began g", "cancelled g"]
        assert (await client.request("app://echo", 1, metadata={"timeoutMs": 5000}))["data"] == 1


@each_engine
@pytest.mark.parametrize("timeout", [0, -1, "50", True, None, 1e300, [1]])
async def test_a_timeout_that_makes_no_sense_is_none(engine: str, timeout: Any) -> None:
    async with serving(engine) as app, app.client() as client:
        assert (await client.request("app://echo", 1, metadata={"timeoutMs": timeout}))["data"] == 1


@each_engine
async def test_a_timeout_of_the_handlers_own_is_a_failure_and_logged(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def own(message: Any, params: Any, options: Any) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://own", own, expose=True)
        answer = await client.request("app://own")
        assert answer["error"]["code"] == "HANDLER_ERROR"
        assert answer["error"]["details"]["errorId"] in caplog.text


@each_engine
async def test_no_reply_means_none_also_for_failures(engine: str) -> None:
    def fail(message: Any, params: Any, options: Any) -> None:
        app.note("failed")
        raise ValueError

    async def cancels_itself(message: Any, params: Any, options: Any) -> None:
        raise asyncio.CancelledError

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://fail", fail, expose=True)
        app.routes.register_route("app://cancels", cancels_itself, expose=True)
        for path in ("app://echo", "app://fail", "app://none", "app://cancels", "app://x/{missing}"):
            await client.write(request(path, 1, 1, noReply=True))
        assert (await client.request("app://echo", 2))["data"] == 2
        assert app.events == ["failed"]


@each_engine
@pytest.mark.parametrize(
    "correlation_id", ["text", 0, 1.5, True, False, None, [], {"a": [1, None]}, "", -(2**63), 2**63 - 1]
)
async def test_any_json_value_is_echoed_as_correlation_id(engine: str, correlation_id: Any) -> None:
    async with serving(engine) as app, app.client() as client:
        for path in ("app://echo", "app://none"):
            answer = await client.request(path, 1, correlationId=correlation_id)
            assert answer["correlationId"] == correlation_id
            assert type(answer["correlationId"]) is type(correlation_id)


@each_engine
async def test_trace_ids_are_kept_when_valid_and_made_when_not(engine: str) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://trace", lambda m, p, o: m.metadata.trace_id, expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        for given in ("a", "A-1._", "x" * 128):
            answer = await client.request("app://trace", metadata={"traceId": given})
            assert answer["data"] == answer["metadata"]["traceId"] == given
        made = set()
        unfit: list[Any] = ["", "x" * 129, "a b", "ä", "a\n", 5, None, ["a"], {}]
        for bad in unfit:
            answer = await client.request("app://trace", metadata={"traceId": bad})
            assert answer["data"] == answer["metadata"]["traceId"] != bad
            made.add(answer["data"])
        answer = await client.request("app://none")
        made.add(answer["metadata"]["traceId"])
        assert len(made) == 10 and isinstance(answer["metadata"]["timestamp"], int)


@each_engine
async def test_what_a_client_says_of_itself_is_untrusted(engine: str) -> None:
    def look(message: Any, params: Any, options: Any) -> Any:
        metadata = message.metadata
        return {
            "caller": [metadata.caller.kind, metadata.caller.name],
            "principal": metadata.principal is None,
            "connection": metadata.connection_id,
            "untrusted": dict(metadata.untrusted),
            "options": options["connectionId"],
        }

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://look", look, expose=True)
        forged = {"caller": "system", "principal": {"id": "root"}, "connectionId": "other", "headers": {"a": "b"}}
        answer = await client.request("app://look", metadata={**forged, "traceId": "t"}, connectionId="x")
        connection_id = app.only().id
        assert answer["data"] == {
            "caller": ["client", connection_id],
            "principal": True,
            "connection": connection_id,
            "untrusted": forged,
            "options": connection_id,
        }


# -- paths ---------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("app://get/{id}", {"id": "abc"}, "abc"),
        ("app://get/{id}", {"id": 7}, "7"),
        ("app://get/{id}", {"id": True}, "true"),
        ("app://get/{id}", {"id": "%41"}, "%41"),
        ("app://get/{id}", {"id": "ä b"}, "ä b"),
        ("app://get/%41b", None, "Ab"),
        ("app://get/{id}", {}, None),
        ("app://get/{id}", None, None),
        ("app://get/{id}", [], None),
        ("app://get/{id}", {"id": ""}, None),
        ("app://get/{id}", {"id": "."}, None),
        ("app://get/{id}", {"id": ".."}, None),
        ("app://get/{id}", {"id": "a/b"}, None),
        ("app://get/{id}", {"id": "a\\b"}, None),
        ("app://get/{id}", {"id": "a\0"}, None),
        ("app://get/{id}", {"id": 1.5}, None),
        ("app://get/{id}", {"id": None}, None),
        ("app://get/{id}", {"id": {}}, None),
        ("{owner}://get/x", {"owner": "app"}, None),
    ],
)
async def test_placeholders_are_filled_from_the_body(engine: str, path: str, body: Any, expected: Any) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://get/{id}", lambda m, p, o: p["id"], expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        answer = await client.request(path, body)
        if expected is None:
            assert answer["error"]["code"] == "INVALID_PATH"
        else:
            assert answer["data"] == expected


@each_engine
async def test_permission_is_checked_on_the_filled_path(engine: str) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://do/{what}", lambda m, p, o: p["what"], expose=True)
        app.routes.register_route("app://do/admin", lambda m, p, o: "admin", expose=True, requires={"admin"})
        app.routes.register_route("app://do/hidden", lambda m, p, o: "hidden")

    async with serving(engine, setup) as app, app.client() as client:
        assert (await client.request("app://do/{what}", {"what": "x"}))["data"] == "x"
        answer = await client.request("app://do/{what}", {"what": "admin"})
        assert answer["error"]["code"] == "UNAUTHORIZED"
        assert (await client.request("app://do/{what}", {"what": "hidden"}))["error"]["code"] == "NOT_FOUND"


@each_engine
@pytest.mark.parametrize("default_path", ["websocket://message", "app://anything"])
async def test_the_default_path_gets_whole_envelopes_and_events(engine: str, default_path: str) -> None:
    def setup(app: App) -> None:
        owner = app.sockets if default_path.startswith("websocket") else app.routes
        owner.register_route(default_path, see)
        app.routes.register_route("app://private", lambda m, p, o: "secret")

    def see(message: Any, params: Any, options: Any) -> Any:
        seen.append(message.body)
        return message.body

    seen: list[Any] = []
    async with serving(engine, setup, routing={"defaultPath": default_path}) as app, app.client() as client:
        assert (await client.request(None, {"a": 1}, correlationId=5))["data"] == {
            "path": None,
            "body": {"a": 1},
            "correlationId": 5,
            "metadata": None,
        }
        await client.json({"type": "chat", "text": "hi", "requiredPermission": "x"})  # no key of ours at all
        assert (await client.receive())["data"] == {
            "path": None,
            "body": None,
            "correlationId": None,
            "metadata": None,
            "type": "chat",
            "text": "hi",
            "requiredPermission": "x",
        }
        answer = await client.request("chat://send", "hi", metadata={"my": "own"}, correlationId=6)
        assert answer["data"] == {"path": "chat://send", "body": "hi", "correlationId": 6, "metadata": {"my": "own"}}
        assert (await client.request("app://private", None))["data"]["path"] == "app://private"
        seen.clear()
        await client.json({"event": "typing", "data": {"in": "room"}})
        assert (await client.request("app://echo", 1))["data"] == 1
        assert [(event["event"], event["data"]) for event in seen] == [("typing", {"in": "room"})]


@each_engine
async def test_without_a_default_handler_nothing_is_found_and_events_are_unanswered(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        assert (await client.request(None, {"a": 1}))["error"]["code"] == "NOT_FOUND"
        await client.json({"event": "typing"})
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
async def test_a_message_handler_wins_over_routing_and_checks_requires(engine: str) -> None:
    async def connect(message: Any, params: Any, options: Any) -> None:
        options.connection.metadata.update(userId=1, permissions=message.body["query"].get("may", "").split(","))

    async with serving(engine) as app:
        app.facet.on_connect(connect)
        app.facet.register_message_handler("app://echo", lambda m, p, o: "mine")
        app.facet.register_message_handler("any://thing/{id}", lambda m, p, o: p["id"], requires={"thing"})
        async with app.client() as one, app.client("/ws?may=thing,other") as two:
            assert (await one.request("app://echo", 1))["data"] == "mine"
            assert (await one.request("any://thing/7"))["error"]["code"] == "FORBIDDEN"
            assert (await two.request("any://thing/{id}", {"id": 7}))["data"] == "7"
            assert await app.system.send(Message("app://echo", 1)) == 1
        app.facet.register_message_handler("app://still", lambda m, p, o: 1)
        await app.facet.stop()


@each_engine
async def test_permissions_come_from_what_connect_wrote(engine: str) -> None:
    async def connect(message: Any, params: Any, options: Any) -> None:
        if user := message.body["query"].get("user"):
            options.connection.metadata.update(userId=user, permissions={"write"} if user == "ann" else set())

    async def nested(message: Any, params: Any, options: Any) -> Any:
        return await app.system.send(Message("app://write", message.body))

    async with serving(engine) as app:
        app.facet.on_connect(connect)
        app.routes.register_route("app://write", lambda m, p, o: o.principal.id, expose=True, requires={"write"})
        app.routes.register_route("app://nested", nested, expose=True)
        expected = {"?user=ann": "ann", "?user=bob": "FORBIDDEN", "": "UNAUTHORIZED"}
        for query, outcome in expected.items():
            async with app.client("/ws" + query) as client:
                for path in ("app://write", "app://nested"):
                    forged = {"permissions": ["write"], "user": "ann"}
                    answer = await client.request(path, forged, metadata=forged)
                    assert (answer["data"] or answer["error"]["code"]) == outcome
        await app.facet.stop()


# -- transforms ------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("sort", ["plain", "async"])
async def test_transforms_see_what_comes_and_what_goes(engine: str, sort: str) -> None:
    def incoming(value: Any) -> Any:
        if value == "raise":
            raise ValueError("secret")
        return {"path": value["to"], "body": value.get("what"), "correlationId": value.get("n")}

    def outgoing(value: Any) -> Any:
        if value["data"] == "raise":
            raise ValueError("secret")
        if value["data"] == "unsendable":
            return object()
        code = value["error"] and value["error"]["code"]
        return {"ok": value["success"], "n": value["correlationId"], "data": value["data"], "code": code}

    async def incoming_later(value: Any) -> Any:
        await asyncio.sleep(0)
        return incoming(value)

    async def outgoing_later(value: Any) -> Any:
        await asyncio.sleep(0)
        return outgoing(value)

    later = sort == "async"
    routing = {
        "transform_incoming": incoming_later if later else incoming,
        "transform_outgoing": outgoing_later if later else outgoing,
    }
    app = App({"websocket": {"type": engine, "host": "127.0.0.1", "port": 0}, "routing": routing})
    app.routes.register_route("app://echo", lambda m, p, o: m.body, expose=True)
    async with app.system, app.client() as client:
        await client.json({"to": "app://echo", "what": 1, "n": 1})
        assert await client.receive() == {"ok": True, "n": 1, "data": 1, "code": None}
        for bad in ("raise", 5, {"to": 5}):
            await client.json(bad)
            answer = json.dumps(await client.receive())
            assert "INVALID_MESSAGE" in answer and "secret" not in answer
        await client.text("{")
        assert "INVALID_JSON" in json.dumps(await client.receive())
        for bad in ("raise", "unsendable"):
            await client.json({"to": "app://echo", "what": bad, "n": 3})
            refused = await client.receive()
            assert refused["error"]["code"] == "HANDLER_ERROR" and refused["correlationId"] == 3
            assert "secret" not in json.dumps(refused)
        await client.json({"to": "app://echo", "what": 2, "n": 2})
        assert (await client.receive())["n"] == 2
        await client.close()


@each_engine
async def test_a_response_is_not_held_up_by_the_handler_that_awaits_it_although_transforms_are_set(
    engine: str,
) -> None:
    async def ask(message: Any, params: Any, options: Any) -> Any:
        return await options.connection.request("client://confirm", timeout=2)

    async with serving(engine, routing={"transform_incoming": lambda value: value}) as app, app.client() as client:
        app.routes.register_route("app://ask", ask, expose=True)
        await client.json({"path": "app://ask"})
        question = await client.receive()
        await client.json({"success": True, "data": "yes", "correlationId": question["correlationId"]})
        assert (await client.receive())["data"] == "yes"


# -- from the server to the client -------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("protocol", [None, "mycelia.v1.msgpack"])
async def test_connection_request_asks_the_client(engine: str, protocol: str | None) -> None:
    async with serving(engine) as app, app.client(protocols=[protocol] if protocol else []) as client:
        if protocol:
            await client.receive()
        connection = app.only()
        asking = asyncio.create_task(connection.request("client://confirm", {"sure": True}, timeout=5))
        question = await client.receive()
        assert (question["path"], question["body"]) == ("client://confirm", {"sure": True})
        await client.json({"success": True, "data": [1], "correlationId": question["correlationId"]})
        assert await within(asking) == [1]
        asking = asyncio.create_task(connection.request("client://confirm"))
        question = await client.receive()
        error = {"code": "NO", "message": "no"}
        await client.json({"success": False, "error": error, "correlationId": question["correlationId"]})
        with pytest.raises(HandlerError) as caught:
            await within(asking)
        assert caught.value.code == "NO"
        with pytest.raises(RequestTimeout):
            await connection.request("client://confirm", timeout=0.01)
        late = await client.receive()
        await client.json({"success": True, "correlationId": late["correlationId"]})
        strangers: list[Any] = ["s-99999", None, 5, ["x"], {}]
        for nobody in strangers:
            await client.json({"success": True, "correlationId": nobody})
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
async def test_connection_request_inside_a_handler_and_in_bounded_number(engine: str) -> None:
    async def ask(message: Any, params: Any, options: Any) -> Any:
        return await options.connection.request("client://confirm")

    async with serving(engine, connection={"backlog_requests": 2}) as app, app.client() as client:
        app.routes.register_route("app://ask", ask, expose=True)
        await client.json({"path": "app://ask"})
        question = await client.receive()
        await client.json({"success": True, "data": "yes", "correlationId": question["correlationId"]})
        assert (await client.receive())["data"] == "yes"
        connection = app.only()
        asking = [asyncio.create_task(connection.request("client://confirm")) for _ in range(2)]
        await client.receive()
        await client.receive()
        with pytest.raises(Overloaded):
            await connection.request("client://confirm")
        client.leave()
        for result in await within(asyncio.gather(*asking, return_exceptions=True)):
            assert isinstance(result, ConnectionNotFound)


# -- encodings ---------------------------------------------------------------------------------------------------


@each_engine
async def test_msgpack_is_negotiated_and_spoken_in_binary(engine: str) -> None:
    async with serving(engine) as app, app.client(protocols=["x", "mycelia.v1.msgpack"]) as client:
        hello = await client.receive()
        assert client.binary and hello["event"] == "websocket.connected"
        answer = await client.request("app://echo", {"bytes": b"\x00\xff", "n": [1, 2.5, None]})
        assert answer["data"] == {"bytes": b"\x00\xff", "n": [1, 2.5, None]}
        await client.send_frame(Opcode.TEXT, b'{"path":"app://echo"}')
        assert (await client.receive())["error"]["code"] == "UNSUPPORTED_DATA"
        await client.send_frame(Opcode.BINARY, msgspec.msgpack.encode({"path": "app://echo"}) + b"\x01")
        assert (await client.receive())["success"] is False


@each_engine
async def test_bytes_reach_a_json_peer_as_base64(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://bytes", lambda m, p, o: b"\x00\xff", expose=True)
        assert (await client.request("app://bytes"))["data"] == "AP8="


@each_engine
async def test_no_subprotocol_offered_means_no_frame_that_was_not_asked_for(engine: str) -> None:
    async with serving(engine) as app, Client.socket(app.port) as client:
        head = await client.upgrade()
        assert "sec-websocket-protocol" not in head.lower()
        await client.json({"path": "app://echo", "body": 1})
        assert (await client.receive())["data"] == 1  # the first frame of all


@each_engine
async def test_a_bearer_subprotocol_is_never_echoed(engine: str) -> None:
    async with serving(engine) as app, Client.socket(app.port) as client:
        await client.write(handshake(protocols=["mycelia.bearer.dG9rZW4", "mycelia.v1.json"]))
        head = (await client.upgraded()).lower()
        assert "sec-websocket-protocol: mycelia.v1.json\r\n" in head + "\r\n" and "bearer" not in head
        assert (await client.receive())["event"] == "websocket.connected"


# -- what runs a handler -------------------------------------------------------------------------------------------


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize("settings", [{}, {"isolated": True}, {"concurrent": True}], ids=str)
async def test_a_handler_runs_in_a_real_task(engine: str, settings: dict[str, Any]) -> None:
    async def look(message: Any, params: Any, options: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        VARIABLE.set("mine")
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return [task.cancelling(), VARIABLE.get(), await asyncio.to_thread(VARIABLE.get)]

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://look", look, expose=True, **settings)
        for _ in range(2):
            assert (await client.request("app://look"))["data"] == [0, "mine", "mine"]


@each_engine
async def test_an_isolated_handler_has_a_context_of_its_own(engine: str) -> None:
    def leave_behind(message: Any, params: Any, options: Any) -> str:
        before = VARIABLE.get()
        VARIABLE.set("left behind")
        return before

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://isolated", leave_behind, expose=True, isolated=True)
        for _ in range(3):
            assert (await client.request("app://isolated"))["data"] == "unset"


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize("kind", ["cancels its task", "cancels and catches", "raises", "awaits a cancelled task"])
async def test_a_cancellation_left_behind_does_not_reach_the_next_handler(engine: str, kind: str) -> None:
    async def handler(message: Any, params: Any, options: Any) -> str:
        task = asyncio.current_task()
        assert task is not None
        if kind == "raises":
            raise asyncio.CancelledError
        if kind == "awaits a cancelled task":
            other = asyncio.create_task(asyncio.Event().wait())
            other.cancel()
            await other
        task.cancel()
        if kind == "cancels and catches":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        return "returned"

    async def next_one(message: Any, params: Any, options: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return task.cancelling()

    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://leave", handler, expose=True)
        app.routes.register_route("app://next", next_one, expose=True)
        for _ in range(2):
            await client.write(request("app://leave", None, 1) + request("app://next", None, 2))
            first, second = await client.receive(), await client.receive()
            assert first["data"] == "returned" or first["error"]["code"] == "CANCELLED"
            assert (second["correlationId"], second["data"]) == (2, 0)


@each_engine
async def test_a_transform_acts_for_nobody_but_the_system(engine: str) -> None:
    async def incoming(value: Any) -> Any:
        callers.append(await app.system.send(Message("app://caller")))
        return value

    callers: list[str] = []
    async with serving(engine, routing={"transform_incoming": incoming}) as app, app.client() as client:
        app.routes.register_route("app://caller", lambda m, p, o: o.caller.kind)
        for _ in range(3):
            await client.request("app://echo")
        assert callers == ["system"] * 3


@each_engine
async def test_falsy_values_and_bare_values_come_back_as_they_are(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        values: list[Any] = [None, 0, False, "", [], {}, {"success": "yes"}, {"success": True, "other": 1}]
        for value in values:
            assert (await client.request("app://echo", value))["data"] == value
        app.routes.register_route("app://text", lambda m, p, o: {"success": False, "error": "no"}, expose=True)
        answer = await client.request("app://text")
        assert answer["error"] == {"code": "HANDLER_ERROR", "message": "no", "details": None, "retryable": False}
