"""Hostile input by hand: each kind is one test, on both engines, over real sockets.

`serving` ends every test by asking as an honest client, and tests/conftest.py fails it for what leaked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mycelia.errors import Forbidden, NotRunning, Unauthorized
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.websocket import BroadcastResult, ConnectionState
from tests.integration.harness import App, Client, each_engine, handshake, serving, until, within

MIB = 1024 * 1024
MASK = b"\x01\x02\x03\x04"
FIREFOX = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Sec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1:8080\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: 0GTlHqLvJtgjsBuIDCY1Jg==\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: websocket\r\n"
    b"Sec-Fetch-Site: same-origin\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
    b"Upgrade: websocket\r\n\r\n"
)


def resident_bytes() -> int:
    """What this process has in memory now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from request to request by its nature."""
    kept = {key: value for key, value in answer.items() if key not in ("correlationId", "metadata")}
    return kept | {"metadata": sorted(answer["metadata"])}


# -- messages that are none ------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("{", "INVALID_JSON"),
        ("", "INVALID_JSON"),
        ("\ufeff{}", "INVALID_JSON"),
        ('{"path": "app://echo"} x', "INVALID_JSON"),
        ('{"path": "app://echo", "body": NaN}', "INVALID_JSON"),
        ('{"path": "app://echo", "body": -Infinity}', "INVALID_JSON"),
        ('{"path": "app://echo", "body": 1e999}', "INVALID_JSON"),
        ('{"path": "app://echo", "body": 9223372036854775809}', "INVALID_JSON"),
        ('{"path": "app://echo", "body": ' + "[" * 10_000 + "]" * 10_000 + "}", "INVALID_JSON"),
        ('{"path": "app://echo", "body": ' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}", "INVALID_JSON"),
        ("[" * 10_000, "INVALID_JSON"),
        ("[]", "INVALID_MESSAGE"),
        ("null", "INVALID_MESSAGE"),
        ('"text"', "INVALID_MESSAGE"),
        ("1", "INVALID_MESSAGE"),
        ('{"path": 5}', "INVALID_MESSAGE"),
        ('{"path": null}', "INVALID_MESSAGE"),
        ('{"path": "app://echo", "metadata": []}', "INVALID_MESSAGE"),
        ('{"path": "app://echo", "success": true}', "INVALID_MESSAGE"),
        ('{"path": "app://echo", "event": "x"}', "INVALID_MESSAGE"),
        ('{"success": 1}', "INVALID_MESSAGE"),
        ('{"event": {}}', "INVALID_MESSAGE"),
        ('{"success": false, "error": "text"}', "INVALID_MESSAGE"),
    ],
)
async def test_what_is_no_message_is_answered_and_the_connection_goes_on(engine: str, payload: str, code: str) -> None:
    async with serving(engine) as app, app.client() as client:
        await client.text(payload)
        answer = await client.receive()
        assert (answer["success"], answer["error"]["code"]) == (False, code)
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
async def test_a_wrong_message_is_answered_with_its_correlation_id(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        await client.json({"path": 5, "correlationId": {"my": ["own", 0]}})
        assert (await client.receive())["correlationId"] == {"my": ["own", 0]}


@each_engine
async def test_binary_without_a_codec_is_unsupported_data(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        await client.send_frame(Opcode.BINARY, b'{"path":"app://echo"}')
        assert (await client.receive())["error"]["code"] == "UNSUPPORTED_DATA"


# -- frames that break RFC 6455 --------------------------------------------------------------------------


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    return mask_frame(opcode, payload, MASK, fin, rsv)


BROKEN: dict[str, tuple[bytes, int]] = {
    "unmasked": (b"\x81\x02hi", 1002),
    "rsv1": (client_frame(1, b"hi", rsv=4), 1002),
    "rsv2": (client_frame(1, b"hi", rsv=2), 1002),
    "rsv3": (client_frame(9, b"hi", rsv=1), 1002),
    "opcode 3": (client_frame(3, b"hi"), 1002),
    "opcode 11": (client_frame(11, b"hi"), 1002),
    "fragmented ping": (client_frame(9, b"hi", fin=False), 1002),
    "long ping": (client_frame(9, b"x" * 126), 1002),
    "lone continuation": (client_frame(0, b"hi"), 1002),
    "text inside a fragmented text": (client_frame(1, b"a", fin=False) + client_frame(1, b"b"), 1002),
    "bad UTF-8": (client_frame(1, b"\xff"), 1007),
    "bad UTF-8 over fragments": (client_frame(1, b"\xe2\x82", fin=False) + client_frame(0, b"\x41"), 1007),
    "cut UTF-8 at the end": (client_frame(1, b"a", fin=False) + client_frame(0, b"\xe2\x82"), 1007),
    "bad UTF-8 in an unfinished message": (client_frame(1, b"\xf8", fin=False), 1007),
    "surrogate over fragments": (client_frame(1, b"\xed", fin=False) + client_frame(0, b"\xa0\x80"), 1007),
    "close of one byte": (client_frame(8, b"\x03"), 1002),
    "close 999": (client_frame(8, b"\x03\xe7"), 1002),
    "close 1005": (client_frame(8, b"\x03\xed"), 1002),
    "close 1006": (client_frame(8, b"\x03\xee"), 1002),
    "close 1015": (client_frame(8, b"\x03\xf7"), 1002),
    "close 2999": (client_frame(8, b"\x0b\xb7"), 1002),
    "close 5000": (client_frame(8, b"\x13\x88"), 1002),
    "close with bad UTF-8": (client_frame(8, b"\x03\xe8\xff"), 1007),
    "too big": (client_frame(1, b"x" * (MIB + 1)), 1009),
    "too big over fragments": (
        client_frame(1, b"x" * MIB, fin=False) + client_frame(0, b"x"),
        1009,
    ),
}


@each_engine
@pytest.mark.parametrize("name", BROKEN)
async def test_a_frame_that_breaks_the_protocol_is_answered_by_the_right_close(engine: str, name: str) -> None:
    data, code = BROKEN[name]
    async with serving(engine, lambda app: app.record("error", "disconnect")) as app:
        async with app.client() as client:
            sending = asyncio.create_task(client.write(data))
            assert (await client.closed())[0] == code
            assert await client.rest() == b""
            await asyncio.gather(sending, return_exceptions=True)
        await app.heard("disconnect")
        assert app.events == ["error", "disconnect"]
        assert app.told[0][2]["closeCode"] == code


@each_engine
async def test_a_peer_that_broke_the_protocol_is_sent_nothing_more(engine: str) -> None:
    async with serving(engine) as app, app.client() as client, app.client() as other:
        connection = app.facet.get_all_connections()[0]
        await client.write(b"\x81\x02hi")  # not masked; the socket stays open on this side
        assert (await client.closed())[0] == 1002
        assert [each.id for each in app.facet.get_all_connections()] != [connection.id]
        assert app.facet.get_connection_count() == 1
        result = await app.facet.broadcast({"event": "news"})
        assert (result.written, result.queued, result.dropped) == (1, 0, 0)
        assert (await other.receive())["event"] == "news"


@each_engine
async def test_a_header_of_a_gibibyte_is_refused_at_once_and_costs_no_memory(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        before = resident_bytes()
        await client.write(b"\x81\xff" + (2**30).to_bytes(8) + MASK)
        assert (await client.closed())[0] == 1009
        assert resident_bytes() - before < 8 * MIB


@each_engine
async def test_a_fragment_flood_ends_at_the_size_of_a_message(engine: str) -> None:
    async with serving(engine, max_payload=10_000) as app, app.client() as client:
        await client.write(client_frame(1, b"x", fin=False) + client_frame(0, b"y" * 100, fin=False) * 2000)
        assert (await client.closed())[0] == 1009


@each_engine
async def test_empty_fragments_are_read_through_and_the_message_still_arrives(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        message = json.dumps({"path": "app://echo", "body": "x", "correlationId": 1}).encode()
        await client.write(client_frame(1, b"", fin=False) + client_frame(0, b"", fin=False) * 150)
        await client.write(client_frame(0, message))
        assert (await client.receive())["data"] == "x"


@each_engine
async def test_fragments_of_two_connections_do_not_mix(engine: str) -> None:
    async with serving(engine) as app, app.client() as one, app.client() as two:
        for client, name in ((one, "one"), (two, "two")):
            await client.send_frame(1, b'{"path":"app://echo","body":"' + name.encode(), fin=False)
            await client.send_frame(9, b"between")
            frame = await client.frame()
            assert frame is not None and (frame.opcode, frame.payload) == (Opcode.PONG, b"between")
        for client in (two, one):
            await client.send_frame(0, b'"}')
        assert (await one.receive())["data"] == "one"
        assert (await two.receive())["data"] == "two"


@each_engine
async def test_a_frame_that_comes_byte_by_byte_is_a_frame(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        for byte in client_frame(1, b'{"path":"app://echo","body":7}'):
            await client.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.receive())["data"] == 7


@each_engine
async def test_a_close_followed_by_more_frames_is_echoed_and_nothing_else_happens(engine: str) -> None:
    called: list[Any] = []

    def setup(app: App) -> None:
        app.record("error", "disconnect")
        app.routes.register_route("app://touch", lambda message, params, options: called.append(1), expose=True)

    async with serving(engine, setup) as app:
        async with app.client() as client:
            late = client_frame(1, b'{"path":"app://touch"}')
            await client.write(client_frame(8, (1001).to_bytes(2) + b"bye") + late * 10 + client_frame(9))
            assert (await client.closed())[0] == 1001
            assert await client.rest() == b""
        [body] = await app.heard("disconnect")
        assert (body["code"], body["reason"]) == (1001, "bye")
        assert app.events == ["disconnect"] and called == []


# -- handshakes ------------------------------------------------------------------------------------------


@each_engine
async def test_firefox_gets_in(engine: str) -> None:
    async with serving(engine) as app, Client.socket(app.port) as client:
        await client.write(FIREFOX.replace(b":8080", b":%d" % app.port))
        head = await client.upgraded()
        assert "sec-websocket-extensions" not in head.lower()
        assert (await client.request("app://echo", "from Firefox"))["data"] == "from Firefox"


@each_engine
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (handshake("/other"), 404),
        (handshake("/ws/"), 404),
        (handshake(headers={"Sec-WebSocket-Version": "8"}), 426),
        (handshake(headers={"Connection": "keep-alive"}), 426),
        (handshake(headers={"Sec-WebSocket-Key": "short"}), 400),
        (handshake(headers={"Origin": "http://evil.example"}), 403),
        (handshake(headers={"Origin": "null"}), 403),
        (handshake(protocols=["graphql-ws"]), 400),
        (handshake(protocols=["mycelia.bearer.dG9rZW4"]), 400),
        (handshake().replace(b"Host: 127.0.0.1\r\n", b""), 400),
        (handshake().replace(b"Host:", b"Host: a\r\nHost:"), 400),
        (handshake().replace(b"GET", b"POST"), 405),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (handshake(headers={f"X-{n}": "1" for n in range(200)}), 431),
        (handshake(headers={"X-Long": "x" * 17_000}), 431),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_a_bad_handshake_is_refused_with_its_status(engine: str, head: bytes, status: int) -> None:
    async with serving(engine, lambda app: app.record("connect", "disconnect")) as app:
        async with Client.socket(app.port) as client:
            await client.write(head)
            assert (await client.rest()).startswith(b"HTTP/1.1 %d " % status)
        assert app.events == []


@each_engine
async def test_an_upgrade_with_a_body_is_refused(engine: str) -> None:
    async with serving(engine) as app, Client.socket(app.port) as client:
        await client.write(handshake(headers={"Content-Length": "5"}) + b"hello")
        assert (await client.rest()).startswith(b"HTTP/1.1 413 ")


@each_engine
async def test_a_trickled_handshake_meets_its_deadline(engine: str) -> None:
    async with serving(engine, connection={"connection_timeout": 0.3}) as app:
        async with Client.socket(app.port) as client:
            trickle = asyncio.create_task(_trickle(client, handshake()[:-1]))
            assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
            trickle.cancel()
            await asyncio.wait([trickle])
        async with Client.socket(app.port) as silent:
            assert (await silent.rest())[:13] in (b"", b"HTTP/1.1 408 ")


async def _trickle(client: Client, data: bytes) -> None:
    """Sends byte after byte, the last ones again and again, until the server has had enough."""
    for byte in data:
        await client.write(bytes([byte]))
        await asyncio.sleep(0)
    await asyncio.Event().wait()


@each_engine
async def test_the_deadline_of_connect_runs_from_the_tcp_accept(engine: str) -> None:
    async def never(message: Any, params: Any, options: Any) -> None:
        app.note("connect", options.connection_id)
        await asyncio.Event().wait()

    async with serving(engine, connection={"connection_timeout": 1.0}) as app:
        app.record("disconnect")
        app.facet.on_connect(never)
        async with Client.socket(app.port) as early, Client.socket(app.port) as late:
            await early.write(handshake()[:-2])
            halfway = asyncio.Event()
            asyncio.get_running_loop().call_later(0.5, halfway.set)
            await within(halfway.wait())
            async with app.client() as later:  # accepted 0.5 s after `early`, its handshake done before that one's
                await app.heard("connect")
                await early.write(b"\r\n")
                await early.upgraded()
                await app.heard("connect", 2)
                first = [identity for name, identity, _ in app.told if name == "connect"]
                assert (await early.closed())[0] == 4408
                pending = app.facet.get_connection(first[0])
                assert pending is not None and pending.state is ConnectionState.PENDING  # its deadline is still to come
                assert (await later.closed())[0] == 4408
                assert late.frames == []
        await app.heard("disconnect", 2)
        assert {identity for name, identity, _ in app.told if name == "disconnect"} == set(first)
        await app.facet.stop()


@each_engine
async def test_frames_that_come_with_the_handshake_are_read(engine: str) -> None:
    async with serving(engine) as app, Client.socket(app.port) as client:
        await client.write(handshake() + client_frame(1, b'{"path":"app://echo","body":"eager"}'))
        await client.upgraded()
        assert (await client.receive())["data"] == "eager"


# -- paths -----------------------------------------------------------------------------------------------


def private_routes(app: App) -> None:
    for path in ("app://private", "app://private/{id}", "app://files/*"):
        app.routes.register_route(path, lambda message, params, options: "secret")


@each_engine
@pytest.mark.parametrize(
    ("private", "unknown"),
    [
        ("app://private", "app://unknown"),
        ("app://private", "nobody://private"),
        ("app://private/7", "app://unknown/7"),
        ("app://private/{id}", "nobody://private/{id}"),
        ("app://private/%zz", "app://unknown/%zz"),
        ("app://private/%ff", "app://unknown/%ff"),
        ("app://private/..", "app://unknown/.."),
        ("app://private/a%2Fb", "app://unknown/a%2Fb"),
        ("app://private/a\\b", "app://unknown/a\\b"),
        ("app://private/", "app://unknown/"),
        ("app://private//x", "app://unknown//x"),
        ("app://files/a/../b", "app://nofiles/a/../b"),
        ("app://files/a/%2e%2e/b", "nobody://files/a/%2e%2e/b"),
        ("websocket://broadcast", "websocket://nothing"),
        ("websocket://send/7", "websocket://nothing/7"),
        ("websocket://close/7", "websocket://nothing/7"),
        ("websocket://connect", "websocket://nothing"),
        ("websocket://disconnect", "nobody://x"),
        ("websocket://error", "nobody://x"),
        ("websocket://message", "nobody://x"),
    ],
)
async def test_a_private_path_looks_like_an_unknown_one(engine: str, private: str, unknown: str) -> None:
    async with serving(engine, private_routes) as app, app.client() as client:
        one = await client.request(private, {"id": "7"})
        two = await client.request(unknown, {"id": "7"})
        shown = json.dumps(without_ids(one)).replace(private, "PATH")
        assert shown == json.dumps(without_ids(two)).replace(unknown, "PATH")
        assert one["success"] is False and "secret" not in json.dumps(one)


@each_engine
async def test_a_client_cannot_broadcast(engine: str) -> None:
    exposed = {"expose": ["websocket://*", "*"]}
    async with serving(engine, routing=exposed) as app, app.client() as client, app.client() as other:
        answer = await client.request("websocket://broadcast", {"event": "forged"})
        assert answer["error"]["code"] == "NOT_FOUND"
        await app.facet.broadcast({"event": "real"})
        assert (await other.receive())["event"] == "real"


# -- start -----------------------------------------------------------------------------------------------


@each_engine
async def test_a_second_start_raises_and_changes_nothing(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        port = app.port
        with pytest.raises(NotRunning):
            await app.facet.start()
        results = await asyncio.gather(*(app.facet.start() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [NotRunning] * 3
        assert app.port == port and app.facet.is_running()
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
@pytest.mark.every_loop
async def test_a_port_in_use_lets_the_oserror_through_and_leaves_a_clean_state(engine: str, free_port: int) -> None:
    async with serving(engine) as first:
        second = App({"websocket": {"type": engine, "host": "127.0.0.1", "port": first.port}})
        second.routes.register_route("app://two", lambda m, p, o: 2, expose=True)
        await second.routes.build()
        await second.sockets.build()
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                await second.facet.start()
            assert not second.facet.is_running()
            assert second.facet.get_address() is None
            await second.facet.stop()
        await first.facet.stop()
        await second.facet.start()
        async with second.client() as client:
            assert (await client.request("app://two"))["data"] == 2
        await second.system.dispose()


@each_engine
async def test_a_failed_bind_of_one_endpoint_closes_the_others(engine: str, free_port: int) -> None:
    async with serving(engine) as first:
        endpoints = [{"type": engine, "host": "127.0.0.1", "port": port} for port in (free_port, first.port)]
        second = App({"websocket": endpoints})
        await second.sockets.build()
        with pytest.raises(OSError):
            await second.facet.start()
        with pytest.raises(ConnectionRefusedError):
            async with Client.socket(free_port):
                pass
        await second.system.dispose()


# -- handlers --------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("sort", ["async", "plain"])
async def test_a_handler_that_raises_is_a_handler_error_whose_text_stays_here(
    engine: str, sort: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(message: Any, params: Any, options: Any) -> None:
        raise ValueError("the password is 1234")

    def at_once(message: Any, params: Any, options: Any) -> None:
        raise ValueError("the password is 1234")

    def setup(app: App) -> None:
        app.routes.register_route("app://fail", later if sort == "async" else at_once, expose=True)

    with caplog.at_level(logging.DEBUG):
        async with serving(engine, setup) as app, app.client() as client:
            answer = await client.request("app://fail", {"my": "body-of-message"})
            error_id = answer["error"]["details"]["errorId"]
    assert answer["success"] is False and answer["error"]["code"] == "HANDLER_ERROR"
    assert "1234" not in json.dumps(answer) and "ValueError" not in json.dumps(answer)
    [record] = [record for record in caplog.records if error_id in record.getMessage()]
    assert record.exc_info is not None and "1234" in str(record.exc_info[1])
    assert "body-of-message" not in caplog.text


@each_engine
async def test_a_handler_that_raises_what_is_no_exception_of_ours_to_catch(engine: str) -> None:
    class Strange(Exception):
        def __str__(self) -> str:
            raise RuntimeError("even its text raises")

    async def fail(message: Any, params: Any, options: Any) -> None:
        raise Strange

    def setup(app: App) -> None:
        app.routes.register_route("app://fail", fail, expose=True)

    logging.getLogger("mycelia.websocket").addFilter(_no_record)
    try:
        async with serving(engine, setup) as app, app.client() as client:
            assert (await client.request("app://fail"))["error"]["code"] == "HANDLER_ERROR"
            assert (await client.request("app://echo", 1))["data"] == 1
    finally:
        logging.getLogger("mycelia.websocket").removeFilter(_no_record)


def _no_record(record: logging.LogRecord) -> bool:
    return False


@each_engine
async def test_a_handler_that_returns_what_cannot_be_sent(engine: str) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://object", lambda m, p, o: {"of": object()}, expose=True)
        app.routes.register_route("app://nan", lambda m, p, o: float("nan"), expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        for path in ("app://object", "app://nan"):
            assert (await client.request(path))["error"]["code"] == "HANDLER_ERROR"
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
@pytest.mark.every_loop
@pytest.mark.parametrize("leaves", ["close", "abort", "reset"])
async def test_a_handler_that_never_returns_is_cancelled_once_when_its_client_leaves(engine: str, leaves: str) -> None:
    async def never(message: Any, params: Any, options: Any) -> None:
        app.note("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            app.note("cancelled")
            raise

    async with serving(engine, lambda app: app.record("error", "disconnect")) as app:
        app.routes.register_route("app://never", never, expose=True)
        async with app.client() as client:
            await client.json({"path": "app://never"})
            await client.json({"path": "app://never"})
            await app.heard("began")
            await _leave(client, leaves)
            await app.heard("disconnect")
        await until(lambda: app.facet.get_connection_count() == 0)
        expected = ["began", "cancelled", *([] if leaves == "close" else ["error"]), "disconnect"]
        assert app.events == expected


async def _leave(client: Client, how: str) -> None:
    if how == "close":
        await client.close()
    elif how == "abort":
        client.leave()
    else:
        client.reset()


# -- connect ---------------------------------------------------------------------------------------------


@each_engine
async def test_frames_and_broadcasts_while_connect_sleeps(engine: str) -> None:
    release = asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> None:
        app.note("connect", options.connection_id)
        await release.wait()

    async with serving(engine) as app, app.client() as open_already:
        app.facet.on_connect(slow)
        async with app.client() as client:
            await app.heard("connect")
            for number in range(20):
                await client.json({"path": "app://echo", "body": number, "correlationId": number})
            connection_id = app.told[0][1]
            pending = app.facet.get_connection(connection_id)
            assert pending is not None and not pending.is_open
            assert app.facet.get_connection_count() == 1 and pending not in app.facet.get_all_connections()
            assert (await app.facet.broadcast({"event": "unseen"})).written == 1
            await app.facet.send(connection_id, {"event": "direct"})
            assert (await open_already.receive())["event"] == "unseen"
            release.set()
            assert (await client.receive())["event"] == "direct"
            for number in range(20):
                assert (await client.receive())["data"] == number
            assert (await app.facet.broadcast({"event": "seen"})).written == 2
            assert (await client.receive())["event"] == "seen"


Verdict = Callable[[], Awaitable[Any]]


async def _fails() -> Any:
    return {"success": False}


async def _unauthorized() -> Any:
    raise Unauthorized("no")


async def _text() -> Any:
    return {"success": False, "error": "Unauthorized"}


async def _forbidden() -> Any:
    return {"success": False, "error": {"code": "FORBIDDEN", "message": "no"}}


async def _raises_forbidden() -> Any:
    raise Forbidden("no")


async def _breaks() -> Any:
    raise KeyError("secret")


async def _hangs() -> Any:
    await asyncio.Event().wait()


async def _times_out_itself() -> Any:
    raise TimeoutError("the database")


VERDICTS: dict[str, tuple[Verdict, int]] = {
    "success false": (_fails, 4401),
    "Unauthorized": (_unauthorized, 4401),
    "a text": (_text, 4401),
    "code FORBIDDEN": (_forbidden, 4403),
    "Forbidden": (_raises_forbidden, 4403),
    "another exception": (_breaks, 1011),
    "a TimeoutError of its own": (_times_out_itself, 1011),
    "the deadline": (_hangs, 4408),
}


@each_engine
@pytest.mark.parametrize("welcome", [False, True], ids=["", "after a welcome"])
@pytest.mark.parametrize("verdict", VERDICTS)
async def test_a_refused_connection_sees_its_close_and_nothing_else(engine: str, verdict: str, welcome: bool) -> None:
    decide, code = VERDICTS[verdict]
    release = asyncio.Event()

    async def connect(message: Any, params: Any, options: Any) -> Any:
        app.note("connect", options.connection_id)
        if welcome:
            await options.connection.send({"event": "welcome"})
        await release.wait()
        return await decide()

    async with serving(engine, connection={"connection_timeout": 0.5, "close_timeout": 0.1}) as app:
        app.record("disconnect")
        app.facet.on_connect(connect)
        async with app.client(protocols=["mycelia.v1.json"]) as client:
            await app.heard("connect")
            await client.json({"path": "app://echo", "body": "held"})
            await app.facet.broadcast({"event": "secret"})
            release.set()
            closed, reason = await client.closed()
            assert closed == code and "secret" not in reason
            assert await client.rest() == b""
        [body] = await app.heard("disconnect")
        assert body["accepted"] is False
        assert [event for event in app.events if event == "disconnect"] == ["disconnect"]
        await app.facet.stop()


# -- leaving in the middle ---------------------------------------------------------------------------------


@each_engine
async def test_half_close_ends_the_connection_once(engine: str) -> None:
    async with serving(engine, lambda app: app.record("error", "disconnect")) as app:
        async with app.client() as client:
            client.sock.shutdown(1)
            await client.rest()
        [body] = await app.heard("disconnect")
        assert body["code"] == 1006 and app.events == ["error", "disconnect"]


@each_engine
async def test_a_reset_in_the_middle_of_a_message(engine: str) -> None:
    async with serving(engine, lambda app: app.record("error", "disconnect")) as app:
        async with app.client() as client:
            await client.write(client_frame(1, b"x" * 100_000)[:50_000])
            client.reset()
            [body] = await app.heard("disconnect")
        assert body["code"] == 1006 and app.events == ["error", "disconnect"]


# -- floods ------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("slow", [False, True], ids=["plain handlers", "handlers that wait"])
async def test_five_thousand_requests_in_one_write_are_all_answered(engine: str, slow: bool) -> None:
    async def echo(message: Any, params: Any, options: Any) -> Any:
        if slow:
            await asyncio.sleep(0)
        return message.body

    def setup(app: App) -> None:
        app.routes.register_route("app://one", echo, expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        data = b"".join(
            client_frame(1, b'{"path":"app://one","body":%d,"correlationId":%d}' % (n, n)) for n in range(5000)
        )
        writing = asyncio.create_task(client.write(data))
        answers = [await client.receive() for _ in range(5000)]
        await writing
        done = [answer["data"] for answer in answers if answer["success"]]
        refused = [answer["error"]["code"] for answer in answers if not answer["success"]]
        assert done == sorted(done) and set(refused) <= {"OVERLOADED"}
        assert sorted(answer["correlationId"] for answer in answers) == list(range(5000))


@each_engine
async def test_a_client_that_never_reads_its_replies_is_not_held_for_ever(engine: str) -> None:
    def setup(app: App) -> None:
        app.record("error", "disconnect")
        app.routes.register_route("app://big", lambda m, p, o: "x" * 200_000, expose=True)

    limits = {"outbox_bytes": 300_000}
    async with (
        serving(engine, setup, connection=limits) as app,
        app.client(receive_buffer=4096) as client,
    ):
        writing = asyncio.create_task(client.write(client_frame(1, b'{"path":"app://big"}') * 500))
        [body] = await app.heard("error")
        writing.cancel()
        await asyncio.wait([writing])
        assert body["closeCode"] == 4504
        await app.heard("disconnect")


@each_engine
async def test_a_client_that_never_reads_broadcasts_is_closed_as_a_slow_consumer(engine: str) -> None:
    limits = {"outbox_bytes": 256 * 1024}
    async with (
        serving(engine, lambda app: app.record("error", "disconnect"), connection=limits) as app,
        app.client(receive_buffer=4096) as client,
        app.client() as honest,
    ):
        reading = asyncio.create_task(honest.messages())
        sent = 0
        result = BroadcastResult()
        while sent < 2000 and not result.dropped:
            result = await app.facet.broadcast({"event": "flood", "data": "x" * 60_000})
            sent += 1
            await until(lambda: len(honest.frames) < 100)
            await asyncio.sleep(0)
        assert result.dropped == 1, f"after {sent} broadcasts nobody was too slow"
        [body] = await app.heard("error")
        assert body["closeCode"] == 4504
        await app.heard("disconnect")
        assert app.facet.get_connection_count() == 1
        assert client.frames == []
        app.only().close()
        assert len(await within(reading)) == sent


@each_engine
@pytest.mark.time_limit(60)
async def test_a_hundred_connections_that_sent_a_mebibyte_each_give_the_memory_back(engine: str) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://size", lambda m, p, o: len(m.body), expose=True)

    body = b"x" * (MIB - 100)
    message = client_frame(1, b'{"path":"app://size","body":"' + body + b'"}')
    async with serving(engine, setup) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(app.client()) for _ in range(101)]
        await clients[0].write(message)  # what one of them costs is the server's to keep
        assert (await clients[0].receive())["data"] == len(body)
        before = resident_bytes()
        for client in clients[1:]:
            await client.write(message)
            assert (await client.receive())["data"] == len(body)
        grown = resident_bytes() - before
        assert grown < 16 * MIB, f"100 quiet connections keep {grown / MIB:.1f} MiB"


@each_engine
async def test_handshakes_beyond_the_room_get_503_and_the_room_comes_back(engine: str) -> None:
    async with serving(engine, connection={"max_connections": 2}) as app:
        async with app.client(), app.client() as second:
            async with Client.socket(app.port) as third:
                await third.write(handshake())
                assert (await third.rest()).startswith(b"HTTP/1.1 503 ")
            await second.close()
            await until(lambda: app.facet.get_connection_count() == 1)
            async with app.client() as fourth:
                assert (await fourth.request("app://echo", 4))["data"] == 4
                await fourth.close()
        await until(lambda: app.facet.get_connection_count() == 0)
