"""The sockjs engine behind an ASGI server in memory."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from mycelia import MessageSystem
from mycelia.errors import ConfigError, EngineError, NotRunning
from mycelia.protocol.http.request import BadHandshake, Handshake, HttpReply
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import load_engine
from mycelia.transports.seam import Control
from mycelia.transports.sockjs.engine import SockjsEngine
from mycelia.websocket import WebSocketSubsystem
from tests.unit.transports.asgi_server import Stand, Visit, plain_scope, running, websocket_scope

PATH = "/sockjs"
OCCUPIED = b'c[2010,"Another connection still open"]\n'
INTERRUPTED = b'c[1002,"Connection interrupted"]\n'


class SockjsStand(Stand[SockjsEngine]):
    """The engine at `PATH`."""

    def visit(self, below: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Visit:
        """A plain request that is being served."""
        visit = self.serve(http_scope(below, method, **headers))
        if body is not None:
            visit.bring(body)
        return visit

    async def ask(self, below: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
        """Status, body and headers of the answer."""
        return await whole(self.visit(below, method, body, **headers))

    async def poll(self, session: str = "s", transport: str = "xhr") -> bytes:
        status, body, _ = await self.ask(f"/0/{session}/{transport}", "POST", b"")
        assert status == 200
        return bytes(body)

    async def bring(self, *texts: str, session: str = "s") -> int:
        status, _, _ = await self.ask(f"/9/{session}/xhr_send", "POST", json.dumps(texts).encode())
        return int(status)

    async def stream(self, session: str = "s") -> Visit:
        """A response that goes on."""
        visit = self.visit(f"/0/{session}/xhr_streaming", "POST", b"")
        await visit.until(lambda: len(visit.parts) >= 2)
        return visit

    async def socket(self, below: str = "/0/s/websocket", **more: Any) -> tuple[Visit, RecordingPeer]:
        """An accepted WebSocket."""
        visit, before = self.serve(websocket_scope(PATH + below, **more)), len(self.peers)
        await visit.until(lambda: visit.asked == 2)
        return visit, self.peers[before]


def http_scope(below: str, method: str, **headers: str) -> dict[str, Any]:
    return plain_scope(PATH + below, method, **headers)


async def whole(visit: Visit) -> tuple[int, bytes, dict[str, str]]:
    status, body = await visit.answer()
    return status, body, visit.headers


def stand(library: dict[str, Any] | None = None, **options: Any) -> AbstractAsyncContextManager[SockjsStand]:
    return running(SockjsStand(SockjsEngine()), **{"path": PATH, "library": library or {}, **options})


# -- start and stop ----------------------------------------------------------------------------------------


def test_it_is_found_by_its_name() -> None:
    assert load_engine("sockjs") is SockjsEngine


@pytest.mark.parametrize(
    "library",
    [
        {"other": 1}, {"response_bytes": 0}, {"session_timeout": 0}, {"client_url": "sockjs.js"}, {"client_url": 1},
        {"cookie": 1}, {"websocket": None}, {"sessionTimeout": 1, "session_timeout": 1},
    ],
)  # fmt: skip
async def test_options_that_are_none(library: dict[str, Any]) -> None:
    engine = SockjsEngine()
    engine.on("admit", lambda request: HttpReply(404))
    with pytest.raises(ConfigError, match=r"websocket\.options"):
        await engine.start(EngineOptions(library=library))


async def test_options_in_the_other_spelling() -> None:
    async with stand({"sessionTimeout": 20, "responseBytes": 10}) as made:
        assert (made.engine.terms.timeout, made.engine.terms.response_bytes) == (0.02, 10)
        await made.poll()
        assert await made.peers[0].closed_with() == (1006, "")


async def test_start_and_stop() -> None:
    engine = SockjsEngine()
    with pytest.raises(EngineError):
        await engine.start(EngineOptions())
    async with stand() as made:
        assert made.engine.address() is None
        with pytest.raises(NotRunning):
            await made.engine.start(EngineOptions())
        streaming, (socket, _) = await made.stream(), await made.socket()
        await made.engine.stop()
        await made.engine.stop()
        await streaming.ended()
        assert (await made.ask("/info"))[0] == 503
        visit = Visit(websocket_scope(PATH + "/0/s/websocket"))
        visit.begin(lambda *call: made.engine.serve(*call))
        assert (await visit.told("websocket.http.response.start"))["status"] == 503
        await socket.ended()
        assert [peer.closings for peer in made.peers] == [[(1006, "")], [(1006, "")]]


# -- without a session -------------------------------------------------------------------------------------


async def test_pages() -> None:
    async with stand({"client_url": "/c.js"}, allowed_origins=("https://a.example",)) as made:
        assert (await made.ask(""))[:2] == (await made.ask("/"))[:2] == (200, b"Welcome to SockJS!\n")
        status, body, headers = await made.ask("/iframe-1.html?t=1")
        assert (status, b"/c.js" in body) == (200, True)
        assert headers["content-security-policy"] == "frame-ancestors 'self' https://a.example"
        status, body, same = await made.ask("/iframe.html", if_none_match=headers["etag"])
        assert (status, body, "content-type" in same, "content-length" in same) == (304, b"", False, False)
        assert json.loads((await made.ask("/info"))[1])["websocket"] is True
        assert (await made.ask("/info", "OPTIONS", origin="https://a"))[0] == 204
        assert (await made.ask("/nowhere"))[0] == 404
        assert (await made.ask("/0/s/websocket"))[:2] == (400, b'Can "Upgrade" only to "WebSocket".\n')
        status, body, headers = await made.ask("/0/s/xhr")
        assert (status, body, headers["allow"]) == (405, b"", "OPTIONS, POST")


async def test_what_is_switched_off_is_not_there() -> None:
    async with stand({"websocket": False}) as made:
        assert json.loads((await made.ask("/info"))[1])["websocket"] is False
        assert (await made.ask("/iframe.html"))[0] == 404  # nobody has said where the client is
        for below in ("/0/s/websocket", "/websocket"):
            assert (await made.ask(below))[0] == 404
            visit = Visit(websocket_scope(PATH + below))
            visit.begin(lambda *call: made.engine.serve(*call))
            assert (await visit.told("websocket.http.response.start"))["status"] == 404
            await visit.ended()


async def test_another_path_is_nowhere() -> None:
    async with stand() as made:
        visit = Visit({**http_scope("", "GET"), "path": "/sockjsx/info"})
        visit.begin(lambda *call: made.engine.serve(*call))
        assert (await whole(visit))[0] == 404


async def test_a_query_that_cannot_be_read() -> None:
    async with stand() as made:
        visit = Visit({**http_scope("/info", "GET"), "query_string": b"\xff"})
        visit.begin(lambda *call: made.engine.serve(*call))
        assert (await whole(visit))[0] == 400
        assert made.door.misreadings == [400]


async def test_every_request_is_screened_for_its_origin() -> None:
    def screen(request: Handshake) -> HttpReply | None:
        return HttpReply(403, b"not you\n") if request.origin in ("https://evil.example", "null") else None

    async with stand(check_request=screen) as made:
        assert await made.poll() == b"o\n"
        for below, method, body in (
            ("/info", "GET", None),
            ("/info", "OPTIONS", None),
            ("/0/s/xhr", "POST", b""),
            ("/0/new/xhr", "POST", b""),
            ("/0/s/xhr_send", "POST", b'["x"]'),
            ("/0/s/eventsource", "GET", None),
        ):
            status, _, headers = await made.ask(below, method, body, origin="https://evil.example")
            assert (status, "access-control-allow-origin" in headers) == (403, False)
        from_there = made.visit("/0/new/jsonp?c=x", sec_fetch_site="cross-site", referer="https://evil.example/")
        assert (await whole(from_there))[0] == 403
        over_http = await made.ask("/0/new/jsonp?c=x", referer="https://evil.example/")
        assert over_http[0] == (await made.ask("/0/new/jsonp?c=x"))[0] == 403  # no browser has told
        assert len(made.requests) == 1
        assert made.peers[0].messages == []


# -- sessions over HTTP ------------------------------------------------------------------------------------


async def test_a_poll_opens_a_session_that_the_gate_has_judged() -> None:
    async with stand() as made:
        made.echo = True
        status, body, headers = await made.ask("/0/s/xhr?token=abc&t=9", "POST", b"", origin="https://a", cookie="x=1")
        assert (status, body, headers["content-length"]) == (200, b"o\n", "2")
        assert headers["access-control-allow-origin"] == "https://a" and "no-store" in headers["cache-control"]
        [request] = made.requests
        assert (request.target, request.is_upgrade, request.origin) == ("/sockjs?token=abc", True, "https://a")
        native: Any = made.peers[0].transport.native
        assert native["type"] == "http"
        assert isinstance(made.peers[0].transport.deadline, float)
        assert made.peers[0].transport.compression is None
        assert await made.bring("a", "ä") == 204
        assert made.peers[0].messages == [(b"a", False), ("ä".encode(), False)]
        assert await made.poll() == 'a["a","ä"]\n'.encode()


@pytest.mark.parametrize(
    ("answer", "status"),
    [(HttpReply(429, b"no\n"), 429), (BadHandshake(421, "no"), 421), (RuntimeError("secret"), 500)],
)
async def test_a_session_that_the_gate_refuses(
    answer: HttpReply | Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with stand() as made:
        made.answer = answer
        found = await made.ask("/0/s/xhr", "POST", b"")
        assert (found[0], b"secret" in found[1]) == (status, False)
        assert await made.bring("a") == 404
    caplog.clear()


async def test_a_closed_door() -> None:
    async with stand() as made:
        made.door.shut = True
        assert (await made.ask("/0/s/xhr", "POST", b""))[0] == 503


async def test_a_stream_carries_what_is_sent_in_a_turn_together() -> None:
    async with stand({"response_bytes": 30}) as made:
        visit, transport = await made.stream(), made.peers[0].transport
        assert visit.parts == [b"h" * 2048 + b"\n", b"o\n"]
        transport.send(b"a", False)
        transport.send(b"b", False)
        assert transport.buffered > 0
        await visit.until(lambda: len(visit.parts) == 3)
        assert visit.parts[2] == b'a["a","b"]\n'
        await visit.until(lambda: transport.buffered == 0)
        second = await made.stream()
        await second.ended()
        assert second.parts[1:] == [OCCUPIED, b""]
        transport.send(b"c" * 40, True)
        await visit.ended()
        assert visit.parts[-1] == b""
        after = made.visit("/0/s/xhr_streaming", "POST", b"")
        await after.until(lambda: after.parts)
        transport.send(b"d", False)
        await after.until(lambda: after.parts[-1] == b'a["d"]\n')


async def test_heartbeats() -> None:
    async with stand(ping_interval=0.01) as made:
        visit = await made.stream()
        await visit.until(lambda: b"h\n" in visit.parts)
        socket, _ = await made.socket()
        await socket.until(lambda: socket.messages.count("h") == 2)


async def test_a_client_that_hangs_up_is_gone_at_once() -> None:
    async with stand() as made:
        visit = await made.stream()
        visit.say({"type": "http.disconnect"})
        await visit.ended()
        assert await made.peers[0].closed_with() == (1001, "")
        assert made.peers[0].leavings == 1
        assert await made.poll() == INTERRUPTED
        assert await made.bring("a") == 404


async def test_news_of_a_client_that_left_may_be_late() -> None:
    async with stand() as made:
        first = await made.stream()
        second = made.visit("/0/s/xhr", "POST", b"")
        for _ in range(3):
            await asyncio.sleep(0)
        first.say({"type": "http.disconnect"})
        assert (await whole(second))[1] == INTERRUPTED


@pytest.mark.parametrize("transport", ["xhr", "xhr_streaming"])
async def test_a_server_that_cannot_send_has_lost_its_client(transport: str) -> None:
    async with stand() as made:
        visit = Visit(http_scope(f"/0/s/{transport}", "POST"))
        visit.broken = OSError()
        visit.begin(lambda *call: made.engine.serve(*call))
        await visit.ended()
        assert await made.peers[0].closed_with() == (1001, "")


@pytest.mark.parametrize("transport", ["xhr", "xhr_streaming"])
async def test_a_client_that_leaves_with_the_end_of_its_response(transport: str) -> None:
    async with stand({"response_bytes": 1}) as made:
        visit = Visit(http_scope(f"/0/s/{transport}", "POST"))

        async def send(event: Any) -> None:
            await visit.send(event)
            if not event.get("more_body", True):  # as middleware of Starlette does
                visit.say({"type": "http.disconnect"})
                for _ in range(5):
                    await asyncio.sleep(0)

        visit.begin(lambda scope, receive, _: made.engine.serve(scope, receive, send))
        await visit.ended()
        assert await made.bring("a") == 204
        assert made.peers[0].messages == [(b"a", False)]


async def test_a_task_that_is_cancelled_ends_its_session() -> None:
    async with stand() as made:
        visit = await made.stream()
        assert visit.task is not None
        visit.task.cancel()
        await asyncio.wait([visit.task])
        assert await made.peers[0].closed_with() == (1001, "")


async def test_a_close_is_told_to_whoever_asks() -> None:
    async with stand() as made:
        await made.poll()
        peer = made.peers[0]
        peer.transport.send(b"last", False)
        peer.transport.close(4510, "as you wish")
        peer.transport.send(b"late", False)
        peer.transport.close(4511, "again")
        assert await made.bring("x") == 204
        assert await made.poll() == b'a["last"]\n'
        assert await made.poll() == b'c[4510,"as you wish"]\n'
        assert await peer.closed_with() == (4510, "as you wish")
        assert await made.poll() == b'c[4510,"as you wish"]\n'
        assert peer.messages == []
        with pytest.raises(ValueError, match="1006"):
            peer.transport.close(1006, "")


async def test_a_close_that_nobody_comes_for() -> None:
    async with stand() as made:
        await made.poll()
        made.peers[0].transport.close(4510, "as you wish")
        assert await made.peers[0].closed_with() == (1006, "")


async def test_an_abort() -> None:
    async with stand() as made:
        visit = await made.stream()
        made.peers[0].transport.abort()
        assert made.peers[0].closings == []
        await visit.ended()
        assert await made.peers[0].closed_with() == (1006, "")
        made.peers[0].transport.abort()
        assert await made.poll() == INTERRUPTED


async def test_an_abort_of_a_response_that_is_stuck() -> None:
    async with stand() as made:
        visit = await made.stream()
        visit.taking.clear()
        made.peers[0].transport.send(b"x" * 100, False)
        await asyncio.sleep(0)
        made.peers[0].transport.abort()
        await visit.ended()


async def test_congestion_and_a_close_before_what_waits() -> None:
    async with stand(high_water_bytes=100) as made:
        await made.poll()
        peer = made.peers[0]
        peer.transport.send(b"x" * 200, False)
        assert peer.congestion == [True]
        assert len(await made.poll()) > 200
        assert peer.congestion == [True, False]
        peer.transport.send(b"x" * 200, False)
        peer.transport.close(4504, "slow")
        assert await made.poll() == b'c[4504,"slow"]\n'


async def test_polls_that_are_not_read_are_congested() -> None:
    async with stand(high_water_bytes=200) as made:
        await made.poll()
        peer = made.peers[0]
        visits = [made.visit("/0/s/xhr", "POST", b"")]
        while len(visits) < 5:
            visits[-1].taking.clear()
            await visits[-1].until(lambda: visits[-1].asked == 3)
            assert peer.congestion == []
            peer.transport.send(b"x" * 40, False)
            visits.append(made.visit("/0/s/xhr", "POST", b""))
        assert peer.congestion == [True]
        for visit in visits:
            visit.taking.set()
        await peer.until(lambda: peer.congestion == [True, False])


async def test_a_stream_that_is_not_read_is_congested() -> None:
    async with stand(high_water_bytes=100) as made:
        visit, peer = await made.stream(), made.peers[0]
        visit.taking.clear()
        peer.transport.send(b"x" * 200, False)
        await peer.until(lambda: peer.congestion == [True])
        visit.taking.set()
        await peer.until(lambda: peer.congestion == [True, False])


@pytest.mark.parametrize("another", [False, True])
async def test_a_response_that_is_not_taken_in_time_is_of_a_slow_client(another: bool) -> None:
    async with stand(handshake_timeout=0.05) as made:
        await made.poll()
        peer, visit = made.peers[0], made.visit("/0/s/xhr", "POST", b"")
        visit.taking.clear()
        await visit.until(lambda: visit.asked == 3)
        peer.transport.send(b"x", False)
        waiting = made.visit("/0/s/xhr", "POST", b"") if another else None
        await visit.ended()
        status, body, _ = await (made.ask("/0/s/xhr", "POST", b"") if waiting is None else whole(waiting))
        assert (status, body) == (200, b'c[4504,"slow consumer"]\n')
        assert peer.failures == [4504]


@pytest.mark.parametrize("transport", ["xhr", "xhr_streaming", "websocket"])
async def test_whoever_reads_too_slowly_hears_it_when_it_reads_on(transport: str) -> None:
    system, told = MessageSystem("main"), asyncio.Queue[int]()
    limits = {"outbox_bytes": 30_000, "close_timeout": 0.5}
    config = {"websocket": [{"type": "sockjs", "path": PATH}], "connection": limits}
    sockets = WebSocketSubsystem("websocket", ms=system, config=config)
    sockets.register_connection_handler("error", lambda message: told.put_nowait(message.body["closeCode"]))

    def visit(name: str) -> Visit:
        socket = name == "websocket"
        made = Visit(websocket_scope(f"{PATH}/{name}") if socket else http_scope(f"/0/s/{name}", "POST"))
        made.begin(sockets.asgi)
        if not socket:
            made.say({"type": "http.request", "body": b""})
        return made

    async with system:
        first = visit("xhr" if transport == "xhr" else transport)
        if transport == "xhr":
            await first.ended()
        facet = sockets.websocket
        await first.until(lambda: facet.get_connection_count() == 1)
        if transport != "xhr":
            first.taking.clear()
        while told.empty():
            await facet.broadcast({"event": "n", "data": "x" * 10_000})
            await asyncio.sleep(0)
        assert told.get_nowait() == 4504
        first.taking.set()
        if transport == "websocket":
            assert (await first.told("websocket.close"))["code"] == 4504
        else:
            assert (await whole(visit("xhr")))[:2] == (200, b'c[4504,"slow consumer"]\n')
        await first.ended()


async def test_a_pause_holds_messages_and_requests() -> None:
    async with stand() as made:
        await made.poll()
        peer = made.peers[0]
        assert peer.pausing is not None
        peer.when_received = peer.pausing.pause
        first = made.visit("/0/s/xhr_send", "POST", b'["a","b"]')
        await peer.until(lambda: peer.messages)
        second = made.visit("/0/s/xhr_send", "POST", b'["c"]')
        assert [message for message, _ in peer.messages] == [b"a"]
        peer.pausing.resume()  # and the next message pauses again
        assert [message for message, _ in peer.messages] == [b"a", b"b"]
        peer.when_received = None
        peer.pausing.resume()
        assert (await whole(first))[0] == (await whole(second))[0] == 204
        assert [message for message, _ in peer.messages] == [b"a", b"b", b"c"]


async def test_requests_in_line_are_few() -> None:
    async with stand() as made:
        await made.poll()
        waiting = [made.visit("/0/s/xhr_send", "POST") for _ in range(8)]
        await waiting[0].until(lambda: waiting[0].asked)
        for _ in range(3):
            await asyncio.sleep(0)
        assert await made.bring("x") == 503
        for visit in waiting:
            visit.say({"type": "http.disconnect"})
            await visit.ended()
            assert visit.sent == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'["x', 500, b"Broken JSON encoding.\n"),
        (b"", 500, b"Payload expected.\n"),
        (b'["' + b"x" * 100, 413, b"expected at most 100 bytes\n"),
    ],
)
async def test_bodies_that_are_no_payload(body: bytes, status: int, text: bytes) -> None:
    async with stand(max_message_bytes=100) as made:
        await made.poll()
        assert (await made.ask("/0/s/xhr_send", "POST", body))[:2] == (status, text)
        assert await made.bring("still here") == 204


async def test_a_body_that_does_not_come() -> None:
    async with stand(handshake_timeout=0.01) as made:
        await made.poll()
        assert (await made.ask("/0/s/xhr_send", "POST"))[0] == 408


async def test_jsonp() -> None:
    async with stand() as made:
        made.echo = True
        _, body, headers = await made.ask("/0/s/jsonp?c=%63b")
        assert (body, headers["content-type"]) == (b'/**/cb("o");\r\n', "application/javascript; charset=UTF-8")
        assert headers["x-content-type-options"] == "nosniff"
        form = "application/x-www-form-urlencoded; charset=UTF-8"
        assert (await made.ask("/0/s/jsonp_send", "POST", b"d=%5B%22%3C%C3%A4%22%5D", content_type=form))[1] == b"ok"
        assert (await made.ask("/0/s/jsonp_send", "POST", b'["b"]', content_type="text/plain"))[1] == b"ok"
        for body in (b"d=", b"x=1", b"\xff"):
            assert (await made.ask("/0/s/jsonp_send", "POST", body, content_type=form))[0] == 500
        assert (await made.ask("/0/s/jsonp?c=cb"))[1] == '/**/cb("a[\\"\\u003cä\\",\\"b\\"]");\r\n'.encode()


@pytest.mark.parametrize("transport", ["jsonp", "htmlfile"])
@pytest.mark.parametrize(
    ("query", "text"), [("", b'"callback" parameter required\n'), ("?c=a%28", b'invalid "callback" parameter\n')]
)
async def test_a_callback_that_is_none_opens_nothing(transport: str, query: str, text: bytes) -> None:
    async with stand() as made:
        status, body, headers = await made.ask(f"/0/s/{transport}{query}")
        assert (status, body, headers["content-type"]) == (500, text, "text/plain; charset=utf-8")
        assert made.requests == []


async def test_htmlfile_is_shown_in_our_own_pages_only() -> None:
    async with stand() as made:
        visit = made.visit("/0/s/htmlfile?c=_jp.a")
        await visit.until(lambda: len(visit.parts) == 2)
        headers = dict((await visit.told("http.response.start"))["headers"])
        assert headers[b"content-security-policy"] == b"frame-ancestors 'self'"
        assert visit.parts[1] == b'<script>\np("o");\n</script>\r\n'


async def test_the_sticky_cookie() -> None:
    async with stand({"cookie": True}) as made:
        assert json.loads((await made.ask("/info"))[1])["cookie_needed"] is True
        for below, body in (("/0/s/xhr", b""), ("/0/s/xhr_send", b"[]")):
            headers = (await made.ask(below, "POST", body, cookie="JSESSIONID=x.1"))[2]
            assert headers["set-cookie"] == "JSESSIONID=x.1; Path=/"


async def test_sessions_that_are_over_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mycelia.transports.sockjs.engine._LINGERING", 2)
    async with stand({"session_timeout": 0.5}) as made:
        for name in ("a", "b", "c"):
            await made.poll(name)
            made.peers[-1].transport.abort()
        assert await made.poll("b") == await made.poll("c") == INTERRUPTED
        assert await made.poll("a") == b"o\n"  # a new one


# -- WebSockets --------------------------------------------------------------------------------------------


async def test_frames_in_a_websocket() -> None:
    async with stand() as made:
        made.echo = True
        visit, peer = await made.socket(query_string=b"token=abc", subprotocols=["mycelia.v1.msgpack"])
        assert (made.requests[0].target, made.requests[0].subprotocols) == ("/sockjs?token=abc", ())
        for text in ("", "[]", '["a","b"]', '"c"'):
            visit.text(text)
        await visit.until(lambda: len(visit.messages) == 4)
        assert visit.messages == ["o", 'a["a"]', 'a["b"]', 'a["c"]']
        peer.transport.close(4510, "as you wish")
        peer.transport.close(4511, "again")
        assert (await visit.told("websocket.close"))["code"] == 4510
        assert visit.messages[-1] == 'c[4510,"as you wish"]'
        assert (await peer.closed_with())[0] == 4510
        await visit.ended()


@pytest.mark.parametrize(
    ("event", "code"),
    [({"text": '["a'}, 1007), ({"text": "{}"}, 1007), ({"bytes": b"[]"}, 1003), ({"text": "x" * 101}, 1009)],
)
async def test_what_is_no_frame_ends_it(event: dict[str, Any], code: int) -> None:
    async with stand(max_message_bytes=100) as made:
        visit, peer = await made.socket()
        visit.say({"type": "websocket.receive", **event})
        visit.text('["after"]')
        assert (await visit.told("websocket.close"))["code"] == code
        assert (await peer.closed_with(), peer.failures, peer.messages) == ((1006, ""), [code], [])
        assert visit.messages == ["o"]
        await visit.ended()


async def test_frames_without_a_message_are_shown_as_such() -> None:
    async with stand() as made:
        visit, peer = await made.socket()
        for text in ("", "[]", '["a"]'):
            visit.text(text)
        await peer.until(lambda: peer.messages)
        assert peer.controls == [(Control.EMPTY_FRAGMENT, b"")] * 2


async def test_a_pause_in_a_websocket() -> None:
    async with stand() as made:
        visit, peer = await made.socket()
        assert peer.pausing is not None
        peer.when_received = peer.pausing.pause
        visit.text('["a","b"]')
        await peer.until(lambda: peer.messages)
        assert len(peer.messages) == 1
        peer.when_received = None
        peer.pausing.resume()
        visit.text('["c"]')
        await peer.until(lambda: len(peer.messages) == 3)


async def test_congestion_in_a_websocket() -> None:
    async with stand(high_water_bytes=100) as made:
        visit, peer = await made.socket()
        visit.taking.clear()
        peer.transport.send(b"x" * 200, False)
        assert (peer.congestion, peer.transport.buffered > 200) == ([True], True)
        visit.taking.set()
        await peer.until(lambda: peer.congestion == [True, False])
        visit.leave(1001)
        assert await peer.closed_with() == (1001, "")
        await visit.ended()


async def test_an_abort_in_a_websocket() -> None:
    async with stand() as made:
        visit, peer = await made.socket()
        peer.transport.abort()
        assert await peer.closed_with() == (1006, "")
        await visit.ended()


async def test_two_websockets_may_have_one_name() -> None:
    async with stand() as made:
        _, one = await made.socket()
        _, other = await made.socket()
        assert one is not other
        assert await made.bring("x") == 404


async def test_a_websocket_without_frames_of_sockjs() -> None:
    async with stand() as made:
        made.echo = True
        visit, peer = await made.socket("/websocket", subprotocols=["chat"])
        visit.text("as it is")
        await visit.until(lambda: visit.messages)
        assert (visit.messages, peer.request.path, peer.request.subprotocols) == (["as it is"], PATH, ("chat",))
