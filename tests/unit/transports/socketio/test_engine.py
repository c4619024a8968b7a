"""The socketio engine behind an ASGI server in memory."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from msgspec import json

from mycelia import MessageSystem
from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.http.credentials import credentials, public_view
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.wire.envelope import Event
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import load_engine
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.engine import SocketioEngine
from mycelia.websocket import WebSocketSubsystem
from tests.unit.transports.asgi_server import Stand, Visit, plain_scope, running, websocket_scope

PATH = "/socket.io/"
CODEC = SocketioCodec()


class SocketioStand(Stand[SocketioEngine]):
    """The engine at `PATH`; its gate agrees on our language, as the engine asks."""

    def accept(self, peer: RecordingPeer, request: Handshake) -> Accept:
        return Accept(peer, "mycelia.v1.json")

    async def ask(self, query: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        """The answer to a plain request."""
        return await self.request(query, method, body).answer()

    def request(self, query: str, method: str = "GET", body: bytes | None = None) -> Visit:
        visit = self.serve(http_scope(query, method))
        if body is not None:
            visit.bring(body)
        return visit

    async def poll(self) -> str:
        """A new session over HTTP: the query that names it."""
        status, body = await self.ask("EIO=4&transport=polling")
        assert status == 200 and body[:1] == b"0"
        return f"EIO=4&transport=polling&sid={json.decode(body[1:])['sid']}"

    async def polled(self) -> tuple[str, RecordingPeer]:
        """A session over HTTP with an accepted connection, that waits for a GET with the answer to CONNECT."""
        session, before = await self.poll(), len(self.peers)
        assert await self.ask(session, "POST", b"40") == (200, b"ok")
        self.peers[before].transport.accepted("id-1")
        return session, self.peers[before]

    async def open(self, query: str = "EIO=4&transport=websocket") -> Visit:
        """A WebSocket."""
        visit = self.serve(websocket_scope(PATH, query_string=query.encode()))
        await visit.told("websocket.accept")
        return visit

    async def joined(self, connect: str = "40") -> tuple[Visit, RecordingPeer]:
        """A WebSocket with an accepted connection."""
        visit, before = await self.open(), len(self.peers)
        visit.text(connect)
        await visit.until(lambda: len(self.peers) > before)
        self.peers[-1].transport.accepted("id-1")
        await visit.until(lambda: len(visit.messages) == 2)
        return visit, self.peers[-1]


def http_scope(query: str, method: str) -> dict[str, Any]:
    return plain_scope(f"{PATH}?{query}", method, authorization="Basic x")


def with_headers(scope: dict[str, Any], **given: str) -> dict[str, Any]:
    return {**scope, "headers": [*scope["headers"], *((key.encode(), each.encode()) for key, each in given.items())]}


def stand(**options: Any) -> AbstractAsyncContextManager[SocketioStand]:
    return running(SocketioStand(SocketioEngine()), **{"path": PATH, **options})


# -- start and stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["socketio", "socket.io"])
def test_it_is_found_by_both_names(name: str) -> None:
    assert load_engine(name) is SocketioEngine


@pytest.mark.parametrize("library", [{"namespaces": "/"}, {"namespaces": ["a"]}, {"namespaces": [1]}, {"other": 1}])
async def test_options_that_are_none(library: dict[str, Any]) -> None:
    engine = SocketioEngine()
    engine.on("admit", lambda request: HttpReply(404))
    with pytest.raises(EngineError):
        await engine.start(EngineOptions(library=library))


async def test_the_order_of_calls() -> None:
    engine = SocketioEngine()
    with pytest.raises(EngineError):
        engine.on("other", lambda request: HttpReply(404))  # type: ignore[arg-type]
    with pytest.raises(EngineError):
        await engine.start(EngineOptions())
    async with stand() as made:
        with pytest.raises(NotRunning):
            await made.engine.start(EngineOptions())
        assert made.engine.address() is None
    assert await made.ask("EIO=4&transport=polling") == (503, b"not serving\n")
    await made.engine.stop()


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "method", "code"),
    [
        ("EIO=4", "GET", 0),
        ("EIO=3&transport=polling", "GET", 5),
        ("EIO=4&transport=polling", "POST", 2),
        ("EIO=4&transport=polling&sid=x", "GET", 1),
        ("EIO=4&transport=websocket", "GET", 3),
    ],
)
async def test_refusals(query: str, method: str, code: int) -> None:
    async with stand() as made:
        status, body = await made.ask(query, method)
        assert (status, json.decode(body)["code"]) == (400, code)
        visit = made.serve(websocket_scope(PATH, query_string=b"EIO=4&transport=polling"))
        assert (await visit.told("websocket.http.response.start"))["status"] == 400
        await visit.ended()


async def test_no_room_and_no_such_path() -> None:
    async with stand() as made:
        made.door.shut = True
        assert (await made.ask("EIO=4&transport=polling"))[0] == 503
        visit = made.serve({**http_scope("EIO=4&transport=polling", "GET"), "path": "/socket.io/more"})
        assert (await visit.answer())[0] == 404


async def test_a_second_post_while_reading_is_paused_ends_the_session() -> None:
    """What is held for a paused connection is one request, however many are sent."""
    async with stand() as made:
        session, peer = await made.polled()
        assert peer.pausing is not None
        peer.pausing.pause()
        waiting = made.request(session, "POST", b'42["app://a"]')
        await waiting.until(lambda: waiting.asked == 2)
        assert (await made.ask(session, "POST", b'42["app://b"]'))[0] == 400
        assert (await waiting.answer())[0] == 400
        assert peer.messages == [] and (await peer.closed_with())[0] == 1006


async def test_the_get_that_a_close_has_overtaken_is_answered() -> None:
    async with stand() as made:
        session = await made.poll()
        assert await made.ask(session, "POST", b"1") == (200, b"ok")
        assert await made.ask(session) == (200, b"6")
        assert (await made.ask(session))[0] == 400


# -- other origins -----------------------------------------------------------------------------------------


def screen(request: Handshake) -> HttpReply | None:
    """As the gate's."""
    return None if origin_allowed(request, ORIGINS) else HttpReply(403, b"not allowed\n")


ORIGINS = ("https://app.example", "null", "*")


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
async def test_foreign_pages_are_refused_and_told_nothing(method: str) -> None:
    def only(request: Handshake) -> HttpReply | None:
        return None if origin_allowed(request, ORIGINS[:1]) else HttpReply(403, b"not allowed\n")

    async with stand(check_request=only, allowed_origins=ORIGINS[:1]) as made:
        visit = made.serve(with_headers(http_scope("EIO=4&transport=polling", method), origin="https://evil.example"))
        status, body = await visit.answer()
        assert (status, json.decode(body)) == (403, {"code": 4, "message": "Forbidden"})
        assert not [name for name in visit.headers if name.startswith("access-control")]
        scope = with_headers(websocket_scope(PATH, query_string=b"EIO=4&transport=websocket"), origin="https://evil")
        visit = made.serve(scope)
        assert (await visit.told("websocket.http.response.start"))["status"] == 403
        await visit.ended()
    assert made.door.inside == 0


@pytest.mark.parametrize(
    ("origin", "credentials_too"),
    [("https://app.example", True), ("http://h", True), ("https://other.example", False), ("null", False)],
)
async def test_pages_that_may_come_may_read(origin: str, credentials_too: bool) -> None:
    async with stand(check_request=screen, allowed_origins=ORIGINS) as made:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-mine"}
        visit = made.serve(with_headers(http_scope("EIO=4&transport=polling", "OPTIONS"), origin=origin, **asked))
        assert (await visit.answer())[0] == 204
        before = visit.headers
        assert before["access-control-allow-methods"] == "GET, POST"
        assert before["access-control-allow-headers"] == "content-type,x-mine"
        visit = made.serve(with_headers(http_scope("EIO=4&transport=polling", "GET"), origin=origin))
        assert (await visit.answer())[0] == 200
        for shown in (before, visit.headers):
            assert shown["access-control-allow-origin"] == origin and shown["vary"] == "Origin"
            assert ("access-control-allow-credentials" in shown) is credentials_too
        assert shown["cache-control"] == "no-store" and "set-cookie" not in shown
        visit = made.serve(with_headers(http_scope("EIO=3&transport=polling", "GET"), origin=origin))
        assert (await visit.answer())[0] == 400 and visit.headers["access-control-allow-origin"] == origin


async def test_no_cookie_is_set_and_nothing_said_of_cors_to_who_is_no_page() -> None:
    async with stand() as made:
        visit = made.serve(http_scope("EIO=4&transport=polling", "GET"))
        assert (await visit.answer())[0] == 200
        usual = {"content-length", "content-type", "cache-control", "vary", "x-content-type-options"}
        assert set(visit.headers) == usual


async def test_polling_from_connect_to_close() -> None:
    async with stand() as made:
        session = await made.poll()
        assert made.door.inside == 1
        assert await made.ask(session, "POST", b"40") == (200, b"ok")
        assert made.door.inside == 0
        [peer] = made.peers
        waiting = made.request(session)
        peer.transport.accepted("id-1")
        assert await waiting.answer() == (200, b'40{"sid":"id-1"}')
        assert await made.ask(session, "POST", b'427["app://a",1]\x1e42["app://b"]') == (200, b"ok")
        assert peer.messages == [(b'27["app://a",1]', False), (b'2["app://b"]', False)]
        peer.transport.send(b'37[{"success":true}]', False)
        peer.transport.send(b'2["notice",1]', False)
        assert peer.transport.buffered > 0
        assert await made.ask(session) == (200, b'437[{"success":true}]\x1e42["notice",1]')
        waiting = made.request(session)
        await waiting.until(lambda: waiting.asked)
        assert await made.ask(session, "POST", b"1") == (200, b"ok")
        assert await waiting.answer() == (200, b"6")
        assert peer.leavings == 1 and await peer.closed_with() == (1000, "")
        assert (await made.ask(session))[0] == 400


async def test_the_native_object_is_the_scope_that_opened_the_session() -> None:
    """With what middleware has put there; requests that come later are others."""
    async with stand() as made:
        opening = made.serve({**http_scope("EIO=4&transport=polling", "GET"), "user": "ada"})
        sid = json.decode((await opening.answer())[1][1:])["sid"]
        assert await made.ask(f"EIO=4&transport=polling&sid={sid}", "POST", b"40") == (200, b"ok")
        native: Any = made.peers[0].transport.native
        assert native is opening.scope and native["user"] == "ada"
        visit, peer = await made.joined()
        assert peer.transport.native is visit.scope


async def test_a_poll_that_is_given_up_frees_its_place() -> None:
    async with stand() as made:
        session = await made.poll()
        waiting = made.request(session)
        await waiting.until(lambda: waiting.asked)
        waiting.say({"type": "http.disconnect"})
        await waiting.ended()
        breaking = made.request(session, "POST")
        breaking.say({"type": "http.request", "body": b"40", "more_body": True})
        breaking.say({"type": "http.disconnect"})
        breaking.say({"type": "http.disconnect"})
        await breaking.ended()
        assert not breaking.sent
        again = made.request(session)
        await again.until(lambda: again.asked)
        assert await made.ask(session, "POST", b"40") == (200, b"ok")
        made.peers[0].transport.accepted("id-1")
        assert (await again.answer())[0] == 200


async def test_a_post_that_is_too_large() -> None:
    async with stand(max_message_bytes=100) as made:
        session = await made.poll()
        assert (await made.ask(session, "POST", b"4" * 101))[0] == 413
        assert (await made.ask(session))[0] == 400


async def test_an_upgrade() -> None:
    async with stand() as made:
        session, peer = await made.polled()
        assert (await made.ask(session))[0] == 200
        socket = await made.open(session.replace("polling", "websocket"))
        socket.text("2probe")
        await socket.until(lambda: socket.messages == ["3probe"])
        peer.transport.send(b'2["late"]', False)
        socket.text("5")
        await socket.until(lambda: socket.messages == ["3probe", '42["late"]'])
        assert (await made.ask(session))[0] == 400
        second = await made.open(session.replace("polling", "websocket"))
        await second.told("websocket.close")
        await second.ended()
        socket.text('42["app://a"]')
        await peer.until(lambda: peer.messages == [(b'2["app://a"]', False)])
        socket.leave(1001)
        await socket.ended()
        assert (await peer.closed_with())[0] == 1001


# -- namespaces as connections -----------------------------------------------------------------------------


async def test_connect_is_a_handshake_with_a_token() -> None:
    async with stand() as made:
        visit, _ = await made.joined('40{"token":"s3cr3t","room":7}')
        assert visit.messages[1] == '40{"sid":"id-1"}'
        [request] = made.requests
        assert credentials(request).token == "s3cr3t"
        shown = public_view(request)
        assert (shown["auth"], shown["url"]) == ({"room": 7}, PATH)
        hidden = urlsafe_b64encode(b"s3cr3t").decode().rstrip("=")
        assert hidden not in repr({**shown, "token": None}) and "s3cr3t" not in repr({**shown, "token": None})
        visit.leave()
        await visit.ended()


@pytest.mark.parametrize("query", ["room=1&room=2", "room=%zz", "a=1&&b=2"])
async def test_the_gate_judges_the_query_as_it_came(query: str) -> None:
    async with stand() as made:
        visit = await made.open(f"EIO=4&{query}&transport=websocket&t=x")
        visit.text("40")
        await visit.until(lambda: made.requests)
        assert made.requests[0].target == f"{PATH}?{query}"
        visit.leave()
        await visit.ended()


async def test_a_connect_that_the_gate_refuses() -> None:
    async with stand() as made:
        visit = await made.open()
        await visit.until(lambda: visit.messages)
        for made.answer, problem in (
            (HttpReply(403, b"not you\n"), {"message": "not you", "data": {"status": 403}}),
            (RuntimeError("secret of the gate"), {"message": "internal error", "data": {"status": 500}}),
        ):
            before = len(visit.messages)
            visit.text("40")
            await visit.until(lambda before=before: len(visit.messages) > before)  # type: ignore[misc]
            assert visit.messages[-1][:2] == "44" and json.decode(visit.messages[-1][2:]) == problem
        visit.text("40/other,")
        await visit.until(lambda: visit.messages[-1].startswith("44/other,"))
        assert len(made.requests) == 2
        visit.leave()
        await visit.ended()


@pytest.mark.parametrize("others", [False, True])
async def test_who_finds_no_room_comes_back(others: bool) -> None:
    """A client stays away from a namespace that it was refused, and tries again when it loses the session."""
    async with stand(library={"namespaces": ["/", "/admin"]}) as made:
        visit = (await made.joined())[0] if others else await made.open()
        made.answer = HttpReply(503, b"no room\n")
        visit.text("40/admin,")
        if others:
            await visit.until(lambda: visit.messages[-1].startswith("44/admin,"))
            visit.leave()
        else:
            assert (await visit.told("websocket.close"))["code"] == 1013
        await visit.ended()


@pytest.mark.parametrize("code", [1012, 4505])
async def test_a_pending_client_that_shall_come_back_loses_the_session(code: int) -> None:
    async with stand() as made:
        visit = await made.open()
        visit.text("40")
        await visit.until(lambda: made.peers)
        made.peers[0].transport.close(code, "")
        assert (await visit.told("websocket.close"))["code"] == code
        await visit.ended()
        assert len(visit.messages) == 1


async def test_a_connection_that_is_refused_after_all() -> None:
    async with stand() as made:
        visit = await made.open()
        visit.text("40")
        await visit.until(lambda: made.peers)
        made.peers[0].transport.close(4401, "")
        await visit.until(lambda: len(visit.messages) == 2)
        assert json.decode(visit.messages[1][2:])["data"] == {"code": 4401}
        assert await made.peers[0].closed_with() == (4401, "")
        visit.leave()
        await visit.ended()


@pytest.mark.parametrize(("code", "told"), [(4403, ["41"]), (1012, []), (4504, [])])
async def test_who_shall_come_back_is_not_told_to_stay_away(code: int, told: list[str]) -> None:
    async with stand() as made:
        visit, peer = await made.joined()
        peer.transport.close(code, "why")
        assert (await visit.told("websocket.close"))["code"] == code
        await visit.ended()
        assert visit.messages[2:] == told
        assert await peer.closed_with() == (code, "why")
        with pytest.raises(ValueError, match="close code"):
            peer.transport.close(1006, "")


async def test_two_namespaces_are_two_connections() -> None:
    async with stand(library={"namespaces": ["/", "/admin"]}) as made:
        visit, peer = await made.joined()
        visit.text("40/admin,")
        await visit.until(lambda: len(made.peers) == 2)
        admin = made.peers[1]
        admin.transport.accepted("id-1")
        admin.transport.send(CODEC.encode(Event("a", b"x")), False)
        await visit.until(lambda: len(visit.messages) == 5)
        assert visit.messages[2:] == ['40/admin,{"sid":"id-1"}', '451-/admin,["a",{"_placeholder":true,"num":0}]', b"x"]
        visit.text('42/admin,["app://a"]')
        await admin.until(lambda: admin.messages == [(b'2["app://a"]', False)])
        admin.transport.close(4403, "")
        await visit.until(lambda: visit.messages[-1] == "41/admin,")
        await admin.closed_with()
        visit.text("41")
        assert await peer.closed_with() == (1000, "")
        assert made.door.inside == 1  # it may join again, in time
        visit.leave()
        await visit.ended()


async def test_who_shall_come_back_to_one_namespace_loses_the_session_when_the_other_is_left_too() -> None:
    async with stand(library={"namespaces": ["/", "/admin"]}, close_timeout=5.0) as made:
        visit, peer = await made.joined()
        visit.text("40/admin,")
        await visit.until(lambda: len(made.peers) == 2)
        admin = made.peers[1]
        admin.transport.accepted("id-1")
        admin.transport.close(1012, "")
        assert await admin.closed_with() == (1012, "")
        peer.transport.send(b'2["still"]', False)
        await visit.until(lambda: visit.messages[-1] == '42["still"]')
        peer.transport.close(1012, "")
        assert (await visit.told("websocket.close"))["code"] == 1012
        await visit.ended()
        assert not [each for each in visit.messages if each.startswith("41")]


async def test_and_soon_if_it_is_not() -> None:
    async with stand(library={"namespaces": ["/", "/admin"]}, close_timeout=0.05) as made:
        visit, peer = await made.joined()
        visit.text("40/admin,")
        await visit.until(lambda: len(made.peers) == 2)
        made.peers[1].transport.accepted("id-1")
        made.peers[1].transport.abort()
        assert (await visit.told("websocket.close"))["code"] == 1000
        await visit.ended()
        assert (await peer.closed_with())[0] == 1006


async def test_a_pause_lasts_until_both_namespaces_want_more() -> None:
    async with stand(library={"namespaces": ["/", "/admin"]}) as made:
        visit, peer = await made.joined()
        visit.text("40/admin,")
        await visit.until(lambda: len(made.peers) == 2)
        admin = made.peers[1]
        admin.transport.accepted("id-1")
        assert peer.pausing is not None and admin.pausing is not None
        peer.pausing.pause()
        admin.pausing.pause()
        peer.pausing.resume()
        visit.text('42["app://a"]')
        for _ in range(5):
            await asyncio.sleep(0)
        assert peer.messages == []
        admin.transport.close(4403, "")  # who goes holds nobody back
        await peer.until(lambda: peer.messages == [(b'2["app://a"]', False)])
        visit.leave()
        await visit.ended()


async def test_a_namespace_that_is_joined_late_has_a_time_of_its_own() -> None:
    async with stand(library={"namespaces": ["/", "/admin"]}, handshake_timeout=30.0) as made:
        visit, peer = await made.joined()
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, later.set)
        await later.wait()
        now = asyncio.get_running_loop().time()
        deadlines: list[Any] = [peer.transport.deadline]
        visit.text("40/admin,")
        await visit.until(lambda: len(made.peers) == 2)
        deadlines.append(made.peers[1].transport.deadline)
        assert deadlines[0] < now + 30.0 <= deadlines[1]
        visit.leave()
        await visit.ended()


async def test_a_session_without_a_namespace_needs_room_at_the_door() -> None:
    async with stand() as made:
        visit, _ = await made.joined()
        made.door.shut = True
        visit.text("41")
        assert (await visit.told("websocket.close"))["code"] == 1013
        await visit.ended()


async def test_a_connect_that_brings_too_much() -> None:
    async with stand() as made:
        visit, peer = await made.joined()
        visit.text('40/other,{"token":"' + "x" * 20_000 + '"}')
        assert (await visit.told("websocket.close"))["code"] == 1009
        await visit.ended()
        assert peer.failures == [1009]


@pytest.mark.parametrize("text", ["4abc", "42{}", '42abc["a"]', "x", '42/other,["a"]', "40"])
async def test_what_is_no_packet_ends_the_connection(text: str) -> None:
    async with stand() as made:
        visit, peer = await made.joined()
        visit.text(text)
        assert (await visit.told("websocket.close"))["code"] == 1002
        await visit.ended()
        assert peer.failures == [1002]


async def test_who_joins_nothing_is_out_of_time() -> None:
    async with stand(handshake_timeout=0.05) as made:
        visit = await made.open()
        await visit.told("websocket.close")
        await visit.ended()


async def test_a_client_that_does_not_answer_pings() -> None:
    async with stand(ping_interval=0.02, ping_timeout=0.02) as made:
        visit, peer = await made.joined()
        assert (await visit.told("websocket.close"))["code"] == 4505
        await visit.ended()
        assert "2" in visit.messages and peer.failures == [4505]


async def test_pongs_are_shown_to_whoever_limits_floods() -> None:
    async with stand() as made:
        visit, peer = await made.joined()
        visit.text("3")
        await peer.until(lambda: peer.controls)
        visit.leave()
        await visit.ended()


# -- pace --------------------------------------------------------------------------------------------------


async def test_a_paused_connection_holds_requests_back() -> None:
    async with stand() as made:
        session, peer = await made.polled()
        assert peer.pausing is not None
        peer.pausing.pause()
        waiting = made.request(session, "POST", b'42["app://a"]')
        await waiting.until(lambda: waiting.asked == 2)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (peer.messages, waiting.sent) == ([], [])
        peer.pausing.resume()
        assert await waiting.answer() == (200, b"ok")
        assert peer.messages == [(b'2["app://a"]', False)]


async def test_congestion_is_told_and_taken_back() -> None:
    async with stand(high_water_bytes=1000) as made:
        session, peer = await made.polled()
        for _ in range(3):
            peer.transport.send(b'2["' + b"a" * 500 + b'"]', False)
        assert peer.congestion == [True]
        assert (await made.ask(session))[0] == 200
        await peer.until(lambda: peer.congestion == [True, False])


async def test_attachments_that_have_not_all_come_are_held_in_all_and_the_largest_holder_goes() -> None:
    async with stand(max_message_bytes=200, inbound_bytes=400) as made:
        visits = [(await made.joined())[0] for _ in range(3)]
        for size, visit in zip((90, 150, 120), visits, strict=True):
            visit.text('452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
            visit.say({"type": "websocket.receive", "bytes": b"x" * size})
        await made.peers[1].closed_with()
        assert [len(peer.closings) for peer in made.peers] == [0, 1, 0]
        for at in (0, 2):
            visits[at].say({"type": "websocket.receive", "bytes": b"y"})
        await visits[2].until(lambda: all(made.peers[at].messages for at in (0, 2)))


# -- below a subsystem -------------------------------------------------------------------------------------


async def test_the_answer_to_connect_is_the_only_greeting() -> None:
    """It names the connection, so the event `websocket.connected` is not sent."""
    system = MessageSystem("main")
    sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "socketio", "path": PATH}})
    async with system:
        visit = Visit(websocket_scope(PATH, query_string=b"EIO=4&transport=websocket"))
        visit.begin(sockets.asgi)
        visit.text("40")
        await visit.until(lambda: len(visit.messages) == 2)
        [connection] = sockets.websocket.get_all_connections()
        await connection.send({"event": "news"})
        await visit.until(lambda: len(visit.messages) == 3)
        assert visit.messages[1:] == [f'40{{"sid":"{connection.id}"}}', '42["news",null]']
        visit.leave()
        await visit.ended()
