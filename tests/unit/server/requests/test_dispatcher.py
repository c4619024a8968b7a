"""A request's way: judged, made a message, answered."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import msgspec
import pytest

from mycelia import (
    Disabled,
    Forbidden,
    HandlerError,
    Message,
    Overloaded,
    RateLimiter,
    Unauthorized,
)
from mycelia.protocol.wire.codes import STATUSES, Code
from mycelia.server import HttpRequest
from tests.unit.server.support import Stage, serving


class Page(msgspec.Struct):
    limit: int = 10
    deep: bool = False
    tags: list[str] = []


def echo(body: Any) -> Any:
    return body


# -- messages ------------------------------------------------------------------------------------------


async def test_a_request_becomes_a_message_and_its_value_a_reply() -> None:
    seen: list[Message] = []

    async def get(id: int, message: Message, connection: HttpRequest) -> dict[str, Any]:
        seen.append(message)
        return {"id": id, "method": connection.method, "path": connection.path}

    async with serving(lambda stage: stage.route("GET /users/{id}", get)) as stage:
        answer = await stage.ask("GET /users/7", user_agent="curl", cookie="a=b", authorization="Bearer secret")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert answer.data == {"id": 7, "method": "GET", "path": "/users/7"}
    [message] = seen
    metadata = message.metadata
    assert (message.path, message.body) == ("app://users/7", {"id": "7"})
    assert metadata.caller is not None and metadata.caller.kind == "client"
    assert (metadata.principal, metadata.connection_id) == (None, None)
    assert (metadata.client.remote_address, metadata.client.header("user-agent")) == ("192.0.2.7", "curl")
    assert "secret" not in f"{message!r}{metadata!r}{metadata.client!r}{metadata.client.describe()}"
    body = answer.json
    assert set(body) == {"success", "data", "correlationId", "error", "metadata"}
    assert body["metadata"]["traceId"] == metadata.trace_id == answer.headers["x-trace-id"]


@pytest.mark.parametrize(
    ("spec", "body", "expected"),
    [
        ("POST /plain", None, None),
        ("POST /plain", [], []),
        ("POST /plain", "text", "text"),
        ("POST /plain", 0, 0),
        ("POST /plain", {"a": 1}, {"a": 1}),
        ("POST /plain?a=1&b=2&b=3&c=", {"a": [None], "d": 4}, {"a": [None], "b": ["2", "3"], "c": "", "d": 4}),
        ("POST /plain?a=%C3%A9+%26", None, {"a": "é &"}),
        ("POST /with/7?id=1&x=2", {"id": 2}, {"id": "7", "x": "2"}),
        ("POST /with/a%2520b", None, {"id": "a%20b"}),
        ("POST /with/%7Bid%7D", None, {"id": "{id}"}),
        ("POST /with/7", [1, 2], [1, 2]),
    ],
)
async def test_what_becomes_the_body(spec: str, body: Any, expected: Any) -> None:
    def setup(stage: Stage) -> None:
        stage.route("POST /plain", echo)
        stage.route("POST /with/{id}", echo)

    async with serving(setup) as stage:
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content_type": "application/json"}
        answer = await stage.ask(spec, sent, **headers)
    assert answer.data == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=5&deep=true&tags=a&tags=b&other=1", {"limit": 5, "deep": True, "tags": ["a", "b"]}),
        ("", {"limit": 10, "deep": False, "tags": []}),
        ("limit=x", None),
        ("tags=one", {"limit": 10, "deep": False, "tags": ["one"]}),
        ("limit=1&limit=2", None),
    ],
)
async def test_a_query_is_text_that_becomes_what_the_handler_asks_for(query: str, expected: Any) -> None:
    def listed(body: Page | None = None) -> Any:
        return msgspec.to_builtins(body or Page())

    async with serving(lambda stage: stage.route("GET /list", listed)) as stage:
        answer = await stage.ask(f"GET /list?{query}")
    if expected is None:
        assert (answer.status, answer.code) == (422, "INVALID_BODY")
        assert answer.json["error"]["details"]["at"].startswith("$.")
    else:
        assert answer.data == expected


async def test_json_without_a_query_is_as_strict_as_a_message_of_a_socket() -> None:
    def listed(body: Page) -> int:
        return body.limit

    async with serving(lambda stage: stage.route("POST /list", listed)) as stage:
        assert (await stage.ask("POST /list", {"limit": "5"})).code == "INVALID_BODY"
        assert (await stage.ask("POST /list", {"limit": 5})).data == 5


async def test_a_parameter_of_the_target_may_come_from_the_body() -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /find", lambda id: id, target="app://get/{id}")

    async with serving(setup) as stage:
        assert (await stage.ask("GET /find?id=a%2520b")).data == "a%20b"
        for query in ("", "?id=", "?id=a/b", "?id=..", "?id=1&id=2"):
            answer = await stage.ask(f"GET /find{query}")
            assert (answer.status, answer.code) == (422, "INVALID_PATH"), query


async def test_messages_inside_carry_the_trace_the_caller_and_the_rights() -> None:
    seen: list[Any] = []

    def inner(message: Message) -> None:
        seen.append((message.metadata.trace_id, message.metadata.caller, message.metadata.principal))

    async def outer(message: Message) -> None:
        await stage.system.send(Message("app://inner"))

    stage = Stage({})
    stage.app.register_route("app://inner", inner)
    stage.app.register_route("app://guarded", inner, requires={"x"})
    stage.route("GET /outer", outer)
    stage.route("GET /through", lambda: stage.system.send(Message("app://guarded")))
    async with stage.system:
        await stage.ask("GET /outer", x_trace_id="abc")
        refused = await stage.ask("GET /through")
    [(trace_id, caller, principal)] = seen
    assert (trace_id, caller.kind, caller.name, principal) == ("abc", "subsystem", "app", None)
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")


# -- traces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "x_trace_id": "mine"}, "a" * 32),
        ({"traceparent": f"00-{'0' * 32}-{'b' * 16}-01", "x_trace_id": "mine"}, "mine"),
        ({"x_trace_id": "A.b_c-9"}, "A.b_c-9"),
        ({"x_trace_id": "x" * 128}, "x" * 128),
        ({"x_trace_id": "x" * 129}, None),
        ({"x_trace_id": "a b"}, None),
        ({"x_trace_id": ""}, None),
        ({}, None),
    ],
)
async def test_a_trace_goes_through(headers: dict[str, str], expected: str | None) -> None:
    async with serving(lambda stage: stage.route("GET /t", lambda message: message.metadata.trace_id)) as stage:
        good = await stage.ask("GET /t", **headers)
        bad = await stage.ask("GET /nowhere", **headers)
    assert good.data == good.json["metadata"]["traceId"] == good.headers["x-trace-id"]
    assert bad.json["metadata"]["traceId"] == bad.headers["x-trace-id"]
    if expected is None:
        assert good.data != bad.headers["x-trace-id"]
    else:
        assert good.data == bad.headers["x-trace-id"] == expected


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "body", "headers", "status", "code"),
    [
        ("GET /nowhere", None, {}, 404, "NOT_FOUND"),
        ("GET /echo/", None, {}, 404, "NOT_FOUND"),
        ("GET //echo", None, {}, 404, "NOT_FOUND"),
        ("GET /secret", None, {}, 404, "NOT_FOUND"),
        ("GET /missing", None, {}, 404, "NOT_FOUND"),
        ("GET /missing2", None, {}, 404, "NOT_FOUND"),
        ("DELETE /echo", None, {}, 405, "METHOD_NOT_ALLOWED"),
        ("BREW /echo", None, {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET /with/a%2Fb", None, {}, 422, "INVALID_PATH"),
        ("GET /with/a%5cb", None, {}, 422, "INVALID_PATH"),
        ("GET /with/a%00b", None, {}, 422, "INVALID_PATH"),
        ("GET /with/a%b", None, {}, 422, "INVALID_PATH"),
        ("GET /with/%ff", None, {}, 422, "INVALID_PATH"),
        ("GET /with/%2e%2e", None, {}, 404, "NOT_FOUND"),
        ("GET /number/x", None, {}, 422, "INVALID_PATH"),
        ("POST /echo", b"{}", {}, 415, "UNSUPPORTED_DATA"),
        ("POST /echo", b"a=b", {"content_type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_DATA"),
        ("POST /echo", b"{}", {"content_type": "application/json; charset=latin1"}, 415, "UNSUPPORTED_DATA"),
        ("POST /echo", b"{", {"content_type": "application/json"}, 400, "INVALID_JSON"),
        ("POST /echo", b'"\xff"', {"content_type": "application/json"}, 400, "INVALID_JSON"),
        ("POST /echo", b"NaN", {"content_type": "application/json"}, 400, "INVALID_JSON"),
        ("POST /echo", b"[" * 65 + b"]" * 65, {"content_type": "application/json"}, 400, "INVALID_JSON"),
        ("POST /echo", b"x" * 401, {"content_type": "application/json"}, 413, "TOO_LARGE"),
        ("POST /echo", [b"x" * 300, b"x" * 101], {"content_type": "application/json"}, 413, "TOO_LARGE"),
        ("POST /echo", b"", {"content_length": "401"}, 413, "TOO_LARGE"),
        ("POST /echo", b"[" + b"1," * 150 + b"1]", {"content_type": "application/json"}, 413, "TOO_LARGE"),
        ("POST /echo?a=1", b"[]", {"content_type": "application/json"}, 422, "INVALID_BODY"),
        ("POST /echo?a=%zz", None, {}, 400, "INVALID_MESSAGE"),
        ("POST /echo?a=%ff", None, {}, 400, "INVALID_MESSAGE"),
        ("POST /echo?a&b&c&d", None, {}, 400, "INVALID_MESSAGE"),
        ("POST /echo", None, {"origin": "https://evil.example"}, 403, "FORBIDDEN"),
        ("POST /echo", None, {"origin": "null"}, 403, "FORBIDDEN"),
    ],
)
async def test_what_no_handler_sees(spec: str, body: Any, headers: dict[str, str], status: int, code: str) -> None:
    def setup(stage: Stage) -> None:
        stage.route("POST /echo", echo)
        stage.route("GET /with/{id}", echo)
        stage.route("GET /number/{id}", number)
        stage.app.register_route("app://secret", echo, expose=True)
        stage.http.register_mycelia_route("GET", "/missing", "app://missing")
        stage.http.register_mycelia_route("GET", "/missing2", "nobody://missing")

    def number(id: int) -> int:
        return id

    limits = {"max_body": 400, "body_values": 150, "query_parameters": 3}
    async with serving(setup, limits=limits) as stage:
        answer = await stage.ask(spec, body, **headers)
        assert stage.facet.snapshot()["running"] == 0
    assert (answer.status, answer.code) == (status, code)
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details", "retryable"}
    assert answer.json["metadata"]["traceId"]
    if status == 405:
        assert answer.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthorized("secret"), 401, "UNAUTHORIZED"),
        (Forbidden("secret"), 403, "FORBIDDEN"),
        (Overloaded("secret"), 503, "OVERLOADED"),
        (Disabled("secret", "x"), 403, "DISABLED"),
        (ValueError("secret"), 500, "HANDLER_ERROR"),
        (TimeoutError("secret"), 500, "HANDLER_ERROR"),
        (asyncio.CancelledError("secret"), 503, "CANCELLED"),
        (HandlerError("sold out", code="SOLD_OUT"), 409, "SOLD_OUT"),
        (HandlerError("other", code="OTHER"), 500, "OTHER"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("waits", [False, True])
async def test_what_a_handler_raises(error: BaseException, status: int, code: str, waits: bool) -> None:
    def plain() -> None:
        raise error

    async def waiting() -> None:
        await asyncio.sleep(0)
        raise error

    handler = waiting if waits else plain
    async with serving(lambda stage: stage.route("GET /fail", handler, statuses={"SOLD_OUT": 409})) as stage:
        answer = await stage.ask("GET /fail")
        errors = stage.facet.errors()
    assert (answer.status, answer.code) == (status, code)
    assert b"secret" not in answer.body and "secret" not in str(errors)
    if code == "HANDLER_ERROR":
        assert answer.json["error"]["details"]["errorId"] == errors["errors"][0]["id"]
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert ("retry-after" in answer.headers) is (status == 503)


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        ({"success": True, "data": 0}, 201, 0),
        ({"success": False, "error": "no"}, 500, "HANDLER_ERROR"),
        ({"success": False, "error": {"code": "NOT_FOUND", "message": "no such user"}}, 404, "NOT_FOUND"),
        ({"success": False, "error": {"code": "TAKEN", "message": "taken"}}, 409, "TAKEN"),
        (object(), 500, "HANDLER_ERROR"),
        (float("nan"), 500, "HANDLER_ERROR"),
    ],
    ids=["data", "text", "known", "own", "object", "nan"],
)
async def test_what_a_handler_returns(value: Any, status: int, expected: Any) -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /value", lambda: value, status=201, statuses={"TAKEN": 409})

    async with serving(setup) as stage:
        answer = await stage.ask("GET /value")
    assert answer.status == status
    assert (answer.data if answer.json["success"] else answer.code) == expected


def test_every_code_has_a_status() -> None:
    assert set(STATUSES) == set(Code)


async def test_a_failure_is_logged_by_the_server_under_the_id_that_the_client_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ValueError("only in the log")

    with caplog.at_level(logging.ERROR, "mycelia.server"):
        async with serving(lambda stage: stage.route("GET /fail", fail)) as stage:
            answer = await stage.ask("GET /fail", x_trace_id="t-1")
    [record] = [each for each in caplog.records if each.name == "mycelia.server"]
    assert answer.json["error"]["details"]["errorId"] in record.getMessage()
    assert "t-1" in record.getMessage()


async def test_rates_are_by_address_where_there_is_no_connection() -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /one", echo, limit=RateLimiter(1, 60.0))
        stage.http.register_mycelia_route("GET", "/two", "app://one", limit=RateLimiter(1, 60.0, by="principal"))

    async with serving(setup) as stage:
        assert (await stage.ask("GET /one")).status == 200
        limited = await stage.ask("GET /one")
        assert (limited.status, limited.code) == (429, "RATE_LIMITED")
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        assert (await stage.ask("GET /two")).status == 429


async def test_what_no_server_should_hand_on_is_refused() -> None:
    async with serving(lambda stage: stage.route("GET /x", echo)) as stage:
        answer = await stage.ask("GET /x?a=é")
        assert (answer.status, answer.code) == (400, "INVALID_MESSAGE")
        many = {f"x-{number}": "1" for number in range(200)}
        answer = await stage.ask("GET /x", **many)
        assert (answer.status, answer.code) == (431, "INVALID_MESSAGE")


# -- HEAD, OPTIONS, hosts ------------------------------------------------------------------------------


async def test_head_is_get_without_its_body() -> None:
    async with serving(lambda stage: stage.route("GET /x", lambda: "x" * 100)) as stage:
        got, head = await stage.ask("GET /x"), await stage.ask("HEAD /x")
        lost = await stage.ask("HEAD /nowhere")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert (lost.status, lost.body) == (404, b"")


async def test_what_has_no_body_by_its_status_has_none() -> None:
    def setup(stage: Stage) -> None:
        stage.route("DELETE /x", lambda: None, status=204)
        stage.route("GET /y", lambda: {"success": False, "error": {"code": "SAME"}}, statuses={"SAME": 304})

    async with serving(setup) as stage:
        for spec, status in (("DELETE /x", 204), ("GET /y", 304)):
            answer = await stage.ask(spec)
            assert (answer.status, answer.body) == (status, b"")
            assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(1500, "2"), (0.5, "1"), (0, "1"), (-1, "1"), (1e300, "1"), ("soon", "1"), (None, "1")],
)
async def test_how_long_to_wait_is_a_number_whatever_a_handler_says(given: Any, seconds: str) -> None:
    error = {"code": "RATE_LIMITED", "details": {"retryAfterMs": given}}
    async with serving(lambda stage: stage.route("GET /x", lambda: {"success": False, "error": error})) as stage:
        answer = await stage.ask("GET /x")
        assert (answer.status, answer.headers["retry-after"]) == (429, seconds)


async def test_options_says_what_there_is() -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /x", echo)
        stage.route("PUT /x", echo, target="app://put")
        stage.route("OPTIONS /own", lambda: "mine")

    async with serving(setup) as stage:
        answer = await stage.ask("OPTIONS /x")
        assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, PUT, OPTIONS", b"")
        assert "content-length" not in answer.headers
        assert (await stage.ask("OPTIONS /own")).data == "mine"
        assert (await stage.ask("OPTIONS /nowhere")).status == 404


async def test_other_hosts_are_not_served() -> None:
    def setup(stage: Stage) -> None:
        stage.route("GET /x", echo)

    async with serving(setup, server={"allowed_hosts": ["there.example"]}) as stage:
        answer = await stage.ask("GET /x")
        assert (answer.status, answer.code) == (421, "FORBIDDEN")
        assert (await stage.ask("GET /health")).status == 421
    async with serving(setup, server={"allowedHosts": ["here.example"]}) as stage:
        assert (await stage.ask("GET /x")).status == 200


async def test_a_trusted_proxy_says_who_asks() -> None:
    def who(message: Message) -> Any:
        client = message.metadata.client
        return [client.remote_address, client.secure]

    def setup(stage: Stage) -> None:
        stage.route("GET /who", who)

    forwarded = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https"}
    async with serving(setup, limits={"trusted_proxies": ["192.0.2.0/24"]}) as stage:
        assert (await stage.ask("GET /who", **forwarded)).data == ["203.0.113.9", True]
    async with serving(setup) as stage:
        assert (await stage.ask("GET /who", **forwarded)).data == ["192.0.2.7", False]


# -- time and room -------------------------------------------------------------------------------------


async def test_a_handler_is_cancelled_when_its_client_leaves() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(lambda stage: stage.route("GET /wait", wait)) as stage:
        call = stage.call("GET /wait")
        await asyncio.wait_for(began.wait(), 5)
        call.say({"type": "http.disconnect"})
        await call.ended()
        assert ended.is_set() and call.sent == []
        assert stage.facet.snapshot()["running"] == 0
        isolated = Stage({})
        began.clear()
        ended.clear()
    isolated.route("GET /wait", wait, isolated=True)
    async with isolated.system:
        call = isolated.call("GET /wait")
        await asyncio.wait_for(began.wait(), 5)
        call.say({"type": "http.disconnect"})
        await call.ended()
        await asyncio.wait_for(ended.wait(), 5)


async def test_who_leaves_with_half_a_body_is_not_answered() -> None:
    async with serving(lambda stage: stage.route("POST /x", echo)) as stage:
        call = stage.call("POST /x", [b"{", b"", b""][:1], content_type="application/json")
        call.events.get_nowait()
        call.say({"type": "http.request", "body": b"{", "more_body": True})
        call.say({"type": "http.disconnect"})
        await call.ended()
        assert call.sent == []


@pytest.mark.parametrize("limits", [{"handler_timeout": 0.01}, {}], ids=["limit", "route"])
async def test_a_handler_has_only_so_much_time(limits: dict[str, float]) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    def setup(stage: Stage) -> None:
        stage.app.register_route("app://wait", wait)
        stage.http.register_mycelia_route("GET", "/wait", "app://wait", timeout=None if limits else 0.01)

    async with serving(setup, limits=limits) as stage:
        answer = await stage.ask("GET /wait")
        assert (answer.status, answer.code, answer.json["error"]["retryable"]) == (504, "TIMEOUT", True)


async def test_a_body_has_only_so_much_time() -> None:
    async with serving(lambda stage: stage.route("POST /x", echo), limits={"bodyTimeout": 10}) as stage:
        call = stage.call("POST /x", [b"", b""], content_type="application/json")
        call.events.get_nowait()
        call.events.get_nowait()
        call.say({"type": "http.request", "body": b"{", "more_body": True})
        answer = await call.answer()
        assert (answer.status, answer.code) == (408, "TIMEOUT")


async def test_there_is_room_for_so_many() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        began.set()
        await go.wait()
        return "done"

    async with serving(lambda stage: stage.route("GET /wait", wait), limits={"max_requests": 1}) as stage:
        first = stage.call("GET /wait")
        await asyncio.wait_for(began.wait(), 5)
        second = await stage.ask("GET /wait")
        assert (second.status, second.code, second.headers["retry-after"]) == (503, "OVERLOADED", "5")
        assert (await stage.ask("GET /live")).status == 200
        go.set()
        assert (await first.answer()).data == "done"
        assert (await stage.ask("GET /wait")).status == 200
        assert stage.facet.snapshot()["refused"] == 1


async def test_one_address_does_not_take_all_the_room(caplog: pytest.LogCaptureFixture) -> None:
    """Who sends a body slowly holds room for as long as `body_timeout` says, and may open many connections."""
    limits = {"max_requests": 3, "requests_per_address": 2, "trusted_proxies": ["192.0.2.0/24"]}
    async with serving(lambda stage: stage.route("POST /x", echo), limits=limits) as stage:
        slow = [stage.call("POST /x", [b"", b""], x_forwarded_for="198.51.100.1") for _ in range(2)]
        for call in slow:
            call.events.get_nowait()
            call.events.get_nowait()
        await asyncio.sleep(0)
        for _ in range(2):
            third = await stage.ask("POST /x", 1, x_forwarded_for="198.51.100.1")
            assert (third.status, third.code, third.headers["retry-after"]) == (429, "RATE_LIMITED", "1")
        assert (await stage.ask("POST /x", 1, x_forwarded_for="198.51.100.2")).data == 1
        assert [each.message for each in caplog.records if "trusted_proxies" in each.message] != []
        assert stage.facet.snapshot() | {"requests": 3, "running": 2, "refused": 2} == stage.facet.snapshot()
        for call in slow:
            call.say({"type": "http.disconnect"})
            await call.ended()
        assert (await stage.ask("POST /x", 1, x_forwarded_for="198.51.100.1")).data == 1


async def test_a_drain_lets_requests_finish_and_takes_no_more() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        began.set()
        await go.wait()
        return "done"

    async with serving(lambda stage: stage.route("GET /wait", wait)) as stage:
        first = stage.call("GET /wait")
        await asyncio.wait_for(began.wait(), 5)
        assert (await stage.ask("GET /ready")).status == 200
        draining = asyncio.create_task(stage.system.drain(5.0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not stage.facet.is_accepting()
        assert (await stage.ask("GET /wait")).code == "OVERLOADED"
        ready, live = await stage.ask("GET /ready"), await stage.ask("GET /live")
        assert (ready.status, ready.code, live.status) == (503, "OVERLOADED", 200)
        assert not draining.done()
        go.set()
        await draining
        assert (await first.answer()).data == "done"


async def test_a_stop_cancels_what_does_not_end_in_time() -> None:
    began = asyncio.Event()

    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    async with serving(lambda stage: stage.route("GET /wait", wait), limits={"close_timeout": 0.05}) as stage:
        call = stage.call("GET /wait")
        await asyncio.wait_for(began.wait(), 5)
        await stage.facet.stop()
        answer = await call.answer()
        assert (answer.status, answer.code) == (503, "CANCELLED")
        assert (await stage.ask("GET /wait")).status == 503
