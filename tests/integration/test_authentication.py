"""Who may come in, over every engine: carriers, modes, the first message, renewal, expiry, refusals, and no leaks."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import Any

import pytest

from mycelia import BaseSubsystem, Forbidden, Message, MessageSystem, RateLimiter, RouteError, Unauthorized
from mycelia.auth import FirstOf, Identity, SessionAuthenticator, TokenAuthenticator
from mycelia.auth.jwks import Jwks
from mycelia.auth.jwt import JwtAuthenticator
from mycelia.errors import HandlerError, Unavailable
from mycelia.testing import ConnectionEnded, MockWebSocketClient, create_mock_websocket_client
from mycelia.websocket import Decision, WebSocketSubsystem
from tests.unit.auth.keyring import Issuer, forged, jwk, pem, private, serve
from tests.unit.auth.keyring import token as make_token

every_engine = pytest.mark.parametrize("engine", ["picows", "websockets", "memory"])

TOKEN = "t0ken-of-ada-8417"
OTHER = "t0ken-of-bob-2290"
NEWER = "t0ken-of-ada-9955"
COOKIE = "s3ssion-of-ada-5561"
PATIENCE = 8.0


class Stage:
    """An application with an authenticator, and a way to become its client."""

    def __init__(self, engine: str, authentication: dict[str, Any], **sections: Any) -> None:
        self.engine = engine
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        endpoint = {"type": engine, "host": "127.0.0.1", "port": 0, **sections.pop("server", {})}
        config = {"websocket": endpoint, "authentication": authentication, **sections}
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.told: list[tuple[str, Any]] = []
        self.news = asyncio.Event()

        @self.app.route("app://who", expose=True, safe=True)
        async def who(message: Any, params: Any, options: Any) -> dict[str, Any]:
            principal = message.metadata.principal
            if principal is None:
                return {"id": None, "permissions": []}
            return {"id": principal.id, "permissions": sorted(principal.permissions)}

        @self.app.route("app://write", expose=True, requires={"write"})
        async def write() -> str:
            return "written"

        @self.app.route("app://known", expose="authenticated")
        async def known() -> str:
            return "known"

    def note(self, what: str, value: Any = None) -> None:
        self.told.append((what, value))
        self.news.set()

    async def hears(self, what: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            while not (found := [value for name, value in self.told if name == what]):
                self.news.clear()
                await self.news.wait()
        return found[0]

    @property
    def url(self) -> str:
        port = self.sockets.websocket.get_port()
        return "ws://localhost/ws" if self.engine == "memory" else f"ws://127.0.0.1:{port}/ws"

    @asynccontextmanager
    async def client(self, query: str = "", **settings: Any) -> AsyncIterator[MockWebSocketClient]:
        system = self.system if self.engine == "memory" else None
        async with create_mock_websocket_client(system) as client:
            await client.connect(self.url + query, **settings)
            yield client

    @property
    def limits(self) -> dict[str, int]:
        counters: dict[str, int] = self.system.statistics()["websocket"]["websocket"]["limits"]
        return counters

    async def refused(self, query: str = "", **settings: Any) -> int:
        """The close code of a client that is not let in."""
        async with self.client(query, **settings) as client:
            return await client.wait_closed()


@asynccontextmanager
async def serving(
    engine: str, authentication: dict[str, Any], setup: Callable[[Stage], object] | None = None, **sections: Any
) -> AsyncIterator[Stage]:
    stage = Stage(engine, authentication, **sections)
    if setup is not None:
        setup(stage)
    async with stage.system:
        yield stage


def lookup(token: str) -> Identity | None:
    return {
        TOKEN: Identity("ada", {"read"}, {"team": 7}),
        NEWER: Identity("ada", {"read", "write"}),
        OTHER: Identity("bob", {"write"}),
    }.get(token)


def tokens() -> TokenAuthenticator:
    return TokenAuthenticator(lookup)


def sessions() -> SessionAuthenticator:
    return SessionAuthenticator("sid", lambda value: Identity("ada") if value == COOKIE else None)


def bearer(token: str) -> str:
    return "mycelia.bearer." + urlsafe_b64encode(token.encode()).rstrip(b"=").decode()


def same_origin(stage: Stage) -> str:
    return stage.url.replace("ws://", "http://").removesuffix("/ws")


def listen(caplog: pytest.LogCaptureFixture) -> None:
    """Everything that is logged, but what the client's own library says."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "websockets.client")


# -- carriers ----------------------------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("carrier", ["authorization", "query", "subprotocol", "message"])
async def test_a_token_in_each_carrier(engine: str, carrier: str) -> None:
    async with serving(engine, {"authenticator": tokens()}) as stage:
        query, settings = "", dict[str, Any]()
        match carrier:
            case "authorization":
                settings = {"token": TOKEN}
            case "query":
                query = f"?token={TOKEN}"
            case "subprotocol":
                settings = {"subprotocols": ["mycelia.v1.json", bearer(TOKEN)]}
        async with stage.client(query, **settings) as client:
            if carrier == "message":
                assert await client.request("websocket://authenticate", {"token": TOKEN}) == {
                    "subject": "ada",
                    "expiresInMs": None,
                }
            assert await client.request("app://who") == {"id": "ada", "permissions": ["read"]}
            [connection] = stage.sockets.websocket.get_all_connections()
            assert connection.metadata == {"userId": "ada"}
            assert TOKEN not in repr(connection.client)


@every_engine
async def test_a_cookie_counts_only_beside_an_origin_that_is_allowed(engine: str) -> None:
    server = {"allowed_origins": ["https://app.example.org", "*"]}
    async with serving(engine, {"authenticator": sessions(), "deadline": 0}, server=server) as stage:
        cookie = {"Cookie": f"theme=dark; sid={COOKIE}"}
        for origin in ("https://app.example.org", same_origin(stage)):
            async with stage.client(headers={**cookie, "Origin": origin}) as client:
                assert (await client.request("app://who"))["id"] == "ada"
        assert await stage.refused(headers=cookie) == 4401
        # `*` lets every page connect, and none of them use its visitors' cookies.
        assert await stage.refused(headers={**cookie, "Origin": "https://evil.example.net"}) == 4401
        twice = {"Cookie": f"sid={COOKIE}; sid=other", "Origin": "https://app.example.org"}
        assert await stage.refused(headers=twice) == 4401
        unknown = {"Cookie": "sid=unknown", "Origin": "https://app.example.org"}
        assert await stage.refused(headers=unknown) == 4401


@every_engine
async def test_the_first_authenticator_that_finds_a_credential_decides(engine: str) -> None:
    async with serving(engine, {"authenticator": FirstOf(sessions(), tokens())}) as stage:
        async with stage.client(token=OTHER) as client:
            assert (await client.request("app://who"))["id"] == "bob"
        headers = {"Cookie": "sid=unknown", "Origin": same_origin(stage)}
        assert await stage.refused(headers=headers, token=OTHER) == 4401


@every_engine
async def test_tokens_of_an_issuer(engine: str) -> None:
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        authenticator = JwtAuthenticator(["RS256"], jwks=Jwks(issuer.url))
        async with serving(engine, {"authenticator": authenticator}) as stage:
            issuer.raw = b"HTTP/1.1 500 Internal Server Error\r\n\r\n"
            good = make_token(private("rsa"), "RS256", {"kid": "one"}, scope="write", exp=time() + 600)
            assert await stage.refused(token=good) == 1013  # it is not the client's fault
            await authenticator.close()
        issuer.raw = None
        authenticator = JwtAuthenticator(["RS256"], jwks=Jwks(issuer.url))
        async with serving(engine, {"authenticator": authenticator}) as stage:
            async with stage.client(token=good) as client:
                assert await client.request("app://write") == "written"
            confused = forged({"alg": "HS256", "kid": "one"}, {"sub": "ada", "exp": time() + 600}, pem("rsa"))
            unsigned = forged({"alg": "none"}, {"sub": "ada", "exp": time() + 600})
            expired = make_token(private("rsa"), "RS256", {"kid": "one"}, exp=time() - 1)
            for bad in (confused, unsigned, expired, good[:-9]):
                assert await stage.refused(token=bad) == 4401


# -- modes -------------------------------------------------------------------------------------------------


@every_engine
async def test_required(engine: str) -> None:
    def setup(stage: Stage) -> None:
        stage.sockets.register_connection_handler("connect", lambda: stage.note("connect"))
        stage.sockets.register_connection_handler("disconnect", lambda: stage.note("disconnect"))

    async with serving(engine, {"authenticator": tokens(), "deadline": 0}, setup) as stage:
        assert await stage.refused(token="wrong") == 4401
        assert await stage.refused() == 4401
        assert stage.told == []  # of what was never let in the application hears nothing
        async with stage.client(token=TOKEN) as client:
            assert await client.request("app://known") == "known"
            with pytest.raises(HandlerError) as caught:
                await client.request("app://write")
            assert caught.value.code == "FORBIDDEN"
        await stage.hears("disconnect")
        assert [name for name, _ in stage.told] == ["connect", "disconnect"]


@every_engine
async def test_optional(engine: str) -> None:
    async with serving(engine, {"authenticator": tokens(), "mode": "optional"}) as stage:
        assert await stage.refused(token="wrong") == 4401
        async with stage.client() as client:
            assert (await client.request("app://who"))["id"] is None
            for path in ("app://known", "app://write"):
                assert (await client.send({"path": path}))["error"]["code"] == "UNAUTHORIZED"
            assert (await client.request("websocket://authenticate", {"token": NEWER}))["subject"] == "ada"
            assert await client.request("app://known") == "known"
            assert await client.request("app://write") == "written"


@every_engine
async def test_who_signs_in_later_counts_for_its_principal(engine: str) -> None:
    authentication = {"authenticator": tokens(), "mode": "optional"}
    async with (
        serving(engine, authentication, limits={"connections_per_principal": 1}) as stage,
        stage.client() as first,
        stage.client() as second,
    ):
        await first.request("websocket://authenticate", {"token": TOKEN})
        with pytest.raises(ConnectionEnded, match="4429"):
            await second.request("websocket://authenticate", {"token": TOKEN})
        await first.request("websocket://authenticate", {"token": NEWER})  # the same one, and no second
        [connection] = stage.sockets.websocket.get_all_connections()
        connection.close()
        await first.wait_closed()
        async with stage.client(token=TOKEN):
            assert stage.limits["connectionsPerPrincipal"] == 1


@every_engine
@pytest.mark.parametrize("known", [False, True])
async def test_cookies_of_something_else_are_no_credential(engine: str, known: bool) -> None:
    either = FirstOf(sessions(), tokens())
    async with serving(engine, {"authenticator": either}) as stage:
        cookie = f"theme=dark; sid={COOKIE}" if known else "theme=dark"
        headers = {"Origin": same_origin(stage), "Cookie": cookie}
        async with stage.client(headers=headers) as client:
            path, body = ("app://who", None) if known else ("websocket://authenticate", {"token": TOKEN})
            answer = await client.request(path, body)  # of who is known already the first message is any other
            assert answer.get("subject", answer.get("id")) == "ada"


@every_engine
async def test_what_has_run_out_lets_nobody_in(engine: str) -> None:
    over = TokenAuthenticator(lambda token: Identity("ada", expires_at=time() - 1))
    async with serving(engine, {"authenticator": over}) as stage:
        assert await stage.refused(token=TOKEN) == 4401
        assert stage.limits["authentication"] == 1


@every_engine
async def test_no_token_is_no_name(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            options.connection.metadata["userId"] = message.body["token"]

    async with serving(engine, {}, setup) as stage, stage.client() as client:
        assert (await client.send({"path": "app://known"}))["error"]["code"] == "UNAUTHORIZED"


@every_engine
@pytest.mark.parametrize("authentication", [{}, {"authenticator": tokens(), "mode": "off"}])
async def test_off_is_the_way_of_the_seed(engine: str, authentication: dict[str, Any]) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
            if message.body["token"] != TOKEN:
                return {"success": False}
            options.connection.metadata.update(userId="eve", permissions=["write"])
            return {"success": True}

    async with serving(engine, authentication, setup) as stage:
        assert await stage.refused() == 4401
        async with stage.client(token=TOKEN) as client:
            assert await client.request("app://who") == {"id": "eve", "permissions": ["write"]}
            assert await client.request("app://known") == "known"
            answer = await client.send({"path": "websocket://authenticate", "body": {"token": TOKEN}})
            assert answer["error"]["code"] == "NOT_FOUND"


@every_engine
async def test_connect_runs_afterwards_and_an_identity_wins_over_metadata(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
            stage.note("principal", message.metadata.principal.id)
            options.connection.metadata.update(userId="root", permissions=["write"])
            return {"success": options.principal.claims.get("team") == 7}

    async with serving(engine, {"authenticator": tokens()}, setup) as stage:
        async with stage.client(token=TOKEN) as client:
            assert await client.request("app://who") == {"id": "ada", "permissions": ["read"]}
        assert await stage.hears("principal") == "ada"
        assert await stage.refused(token=OTHER) == 4401  # known, and `connect` does not want it


@every_engine
@pytest.mark.parametrize(
    ("fault", "code"), [(Unavailable("no keys"), 1013), (Forbidden("banned"), 4403), (KeyError(TOKEN), 1011)]
)
async def test_how_a_failing_authenticator_refuses(
    engine: str, fault: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(token: str) -> Identity:
        raise fault

    listen(caplog)
    async with serving(engine, {"authenticator": TokenAuthenticator(callback)}) as stage:
        assert await stage.refused(token=TOKEN) == code
    assert TOKEN not in caplog.text


# -- the first message -------------------------------------------------------------------------------------


@every_engine
async def test_the_greeting_comes_before_the_answer_and_that_before_others(engine: str) -> None:
    async with (
        serving(engine, {"authenticator": tokens()}) as stage,
        stage.client(subprotocols=["mycelia.v1.json"]) as client,
    ):
        first = {"path": "websocket://authenticate", "body": {"token": TOKEN}, "correlationId": "a"}
        await client.send_raw(json.dumps(first))
        await client.send_raw('{"path":"app://who","correlationId":"b"}')
        seen = [await client.receive() for _ in range(3)]
        assert seen[0]["event"] == "websocket.connected"
        assert seen[0]["data"]["authentication"]["subject"] == "ada"
        assert [each["correlationId"] for each in seen[1:]] == ["a", "b"]
        assert seen[2]["data"]["id"] == "ada"


@every_engine
@pytest.mark.parametrize(
    "first",
    [
        '{"path":"app://who"}',
        "not json",
        '{"path":"websocket://authenticate"}',
        '{"path":"websocket://authenticate","body":{"token":""}}',
        '{"path":"websocket://authenticate","body":{"token":["x"]}}',
        '{"path":"websocket://authenticate","body":{"token":"wrong"}}',
        '{"path":"websocket://authenticate","body":{"token":"%s"}}' % ("x" * 9000),
        '{"path":"websocket://authenticate","body":{"token":"%s"}}' % ("x" * 20000),
    ],
    ids=range(8),
)
async def test_any_other_first_message_is_the_last(engine: str, first: str) -> None:
    async with serving(engine, {"authenticator": tokens()}) as stage, stage.client() as client:
        await client.send_raw(first)
        assert await client.wait_closed() == 4401
        assert client.events == []


def translated(message: Any) -> Any:
    """What an application makes of a wire format of its own."""
    if not isinstance(message, dict) or "op" not in message:
        return message
    return {"path": message["op"].replace(":", "://"), "body": message.get("with"), "correlationId": message["nr"]}


@every_engine
@pytest.mark.parametrize("slow", [False, True])
async def test_the_first_message_is_translated_like_any_other(engine: str, slow: bool) -> None:
    async def incoming(message: Any) -> Any:
        await asyncio.sleep(0)
        return translated(message)

    async def outgoing(response: Any) -> Any:
        for _ in range(20 if response["correlationId"] == 1 else 0):  # the second must not overtake it
            await asyncio.sleep(0)
        return {"nr": response["correlationId"], "ok": response.get("data")}

    def short(response: Any) -> Any:
        return {"nr": response["correlationId"], "ok": response.get("data")}

    routing = {
        "transform_incoming": incoming if slow else translated,
        "transform_outgoing": outgoing if slow else short,
    }
    async with serving(engine, {"authenticator": tokens()}, routing=routing) as stage, stage.client() as client:
        await client.send_raw(json.dumps({"op": "websocket:authenticate", "with": {"token": TOKEN}, "nr": 1}))
        await client.send_raw(json.dumps({"op": "app:who", "nr": 2}))
        assert [await client.receive(), await client.receive()] == [
            {"nr": 1, "ok": {"subject": "ada", "expiresInMs": None}},
            {"nr": 2, "ok": {"id": "ada", "permissions": ["read"]}},
        ]


@every_engine
@pytest.mark.parametrize("first", ["a failure", "no envelope", "another path", "not json"])
async def test_a_first_message_whose_translation_is_none_is_the_last(engine: str, first: str) -> None:
    def transform(message: Any) -> Any:
        if message == "a failure":
            raise KeyError(message)
        return {"path": "app://who"} if message == "another path" else 7

    async with (
        serving(engine, {"authenticator": tokens()}, routing={"transform_incoming": transform}) as stage,
        stage.client() as client,
    ):
        await client.send_raw("{" if first == "not json" else json.dumps(first))
        assert await client.wait_closed() == 4401
        assert client.events == []
        recorded = stage.sockets.websocket.errors()["errors"]
        assert [each["exception"] for each in recorded] == (["KeyError"] if first == "a failure" else [])


@every_engine
async def test_a_translation_has_until_the_deadline(engine: str) -> None:
    async def transform(message: Any) -> Any:
        await asyncio.Event().wait()

    routing = {"transform_incoming": transform}
    async with serving(engine, {"authenticator": tokens(), "deadline": 0.1}, routing=routing) as stage:
        async with stage.client() as client:
            await client.send_raw(json.dumps({"path": "websocket://authenticate", "body": {"token": TOKEN}}))
            assert await client.wait_closed() == 4408
        assert stage.limits["authenticationTime"] == 1


@every_engine
async def test_the_deadline_of_who_says_nothing(engine: str) -> None:
    async with serving(engine, {"authenticator": tokens(), "deadline": 0.05}) as stage:
        assert await stage.refused() == 4408


@every_engine
async def test_a_client_that_leaves_while_it_is_waited_for(engine: str) -> None:
    async with serving(engine, {"authenticator": tokens()}) as stage:
        async with stage.client() as client:
            client.abort()
            await client.wait_closed()
        await stage.sockets.websocket.stop()
        assert stage.sockets.websocket.get_connection_count() == 0


# -- renewal and expiry ------------------------------------------------------------------------------------


@every_engine
async def test_a_renewal_brings_its_permissions_and_no_other_subject(engine: str) -> None:
    renewed: list[str] = []
    async with serving(engine, {"authenticator": tokens()}) as stage, stage.client(token=TOKEN) as client:
        await client.request("app://who")
        stage.sockets.websocket.authentication.renewed.append(lambda connection: renewed.append(connection.id))
        [connection] = stage.sockets.websocket.get_all_connections()
        for body, code in [
            ({"token": OTHER}, "FORBIDDEN"),
            ({"token": "wrong"}, "UNAUTHORIZED"),
            ({}, "INVALID_BODY"),
            (None, "INVALID_BODY"),
            ({"token": "x" * 9000}, "UNAUTHORIZED"),
        ]:
            answer = await client.send({"path": "websocket://authenticate", "body": body})
            assert answer["error"]["code"] == code
        assert (await client.send({"path": "app://write"}))["error"]["code"] == "FORBIDDEN"
        assert renewed == []
        await client.request("websocket://authenticate", {"token": NEWER})
        assert await client.request("app://write") == "written"
        assert renewed == [connection.id]
        assert connection.options.permissions_version == 2  # type: ignore[attr-defined]  # of a client's options
        await client.request("websocket://authenticate", {"token": TOKEN})
        assert (await client.send({"path": "app://write"}))["error"]["code"] == "FORBIDDEN"


@every_engine
async def test_nobody_guesses_for_ever(engine: str) -> None:
    async with serving(engine, {"authenticator": tokens(), "mode": "optional"}) as stage, stage.client() as client:
        for token in ("wrong", "wrong", "wrong", "wrong", TOKEN, "wrong", "wrong", "wrong", "wrong"):
            answer = await client.send({"path": "websocket://authenticate", "body": {"token": token}})
            assert answer["success"] is (token == TOKEN)
        await client.notify("websocket://authenticate", {"token": "wrong"})
        assert await client.wait_closed() == 4401


async def test_the_program_itself_may_renew_and_may_not_authenticate() -> None:
    async with serving("memory", {"authenticator": tokens()}) as stage, stage.client(token=TOKEN) as client:
        await client.request("app://who")
        [connection] = stage.sockets.websocket.get_all_connections()
        with pytest.raises(Forbidden):
            stage.sockets.websocket.authentication.renew(connection, Identity("bob"))
        stage.sockets.websocket.authentication.renew(connection, Identity("ada", {"write"}))
        assert await client.request("app://write") == "written"
        with pytest.raises(Forbidden):
            await stage.system.send(Message("websocket://authenticate", {"token": TOKEN}))


@every_engine
async def test_a_failing_renewal_leaves_the_identity_and_no_token_in_the_log(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    faults: dict[str, Exception] = {
        "unavailable-5512": Unavailable("unavailable-5512 not reached"),
        "broken-8831": KeyError("broken-8831"),
        "late-4421": TimeoutError("late-4421"),  # its own, not ours
        "bad-7719": Unauthorized("bad-7719 is bad"),
    }

    def callback(token: str) -> Identity | None:
        if token in faults:
            raise faults[token]
        return lookup(token)

    listen(caplog)
    async with (
        serving(engine, {"authenticator": TokenAuthenticator(callback)}) as stage,
        stage.client(token=TOKEN) as client,
    ):
        for token, code in zip(faults, ("OVERLOADED", *["HANDLER_ERROR"] * 2, "UNAUTHORIZED"), strict=True):
            answer = await client.send({"path": "websocket://authenticate", "body": {"token": token}})
            assert answer["error"]["code"] == code
            assert token not in str(answer)
        assert (await client.request("app://who"))["id"] == "ada"
    for token in (*faults, TOKEN):
        assert token not in caplog.text
    assert "KeyError" in caplog.text and "TimeoutError" in caplog.text  # the operator still learns what it was


@every_engine
@pytest.mark.parametrize("subprotocol", ["mycelia.v1.json", None])
async def test_expiry_is_announced_then_ends_the_connection(engine: str, subprotocol: str | None) -> None:
    def setup(stage: Stage) -> None:
        stage.sockets.register_connection_handler("expiring", lambda message: stage.note("expiring", message.body))
        stage.sockets.register_connection_handler("disconnect", lambda message: stage.note("gone", message.body))

    brief = TokenAuthenticator(lambda token: Identity("ada", expires_at=time() + 0.15))
    times = {"warning": 60.0, "grace": 0.1}
    async with (
        serving(engine, {"authenticator": brief, **times}, setup) as stage,
        stage.client(token=TOKEN, subprotocols=[subprotocol] if subprotocol else []) as client,
    ):
        assert (await stage.hears("expiring"))["subject"] == "ada"
        assert await client.wait_closed() == 4401
        names = [each["event"] for each in client.events]
        assert names == (["websocket.connected", "websocket.token_expiring"] if subprotocol else [])
        assert (await stage.hears("gone"))["code"] == 4401


@every_engine
async def test_a_renewal_in_time_keeps_the_connection(engine: str) -> None:
    ends = {"brief": 0.1, "long": 3600.0}
    kept = TokenAuthenticator(lambda token: Identity("ada", expires_at=time() + ends[token]))
    async with (
        serving(engine, {"authenticator": kept, "warning": 60.0, "grace": 0.2}) as stage,
        stage.client(token="brief", subprotocols=["mycelia.v1.json"]) as client,
    ):
        await client.receive_event("websocket.token_expiring")
        answer = await client.request("websocket://authenticate", {"token": "long"})
        assert 3_500_000 < answer["expiresInMs"] <= 3_600_000
        late = asyncio.Event()
        asyncio.get_running_loop().call_later(0.4, late.set)  # beyond the end of the first
        await late.wait()
        assert (await client.request("app://who"))["id"] == "ada"


# -- authorisation -----------------------------------------------------------------------------------------


@every_engine
async def test_a_policy_is_asked_and_remembers_only_what_it_says(engine: str) -> None:
    asked: list[tuple[str, str | None]] = []

    async def policy(message: Any, principal: Any, route: Any) -> bool | Decision:
        asked.append((message.path, principal.id if principal else None))
        if message.path == "app://item/9":
            raise RuntimeError("the policy is broken")
        if message.path == "app://item/8":
            return None  # type: ignore[return-value]  # what a mistaken policy does
        return Decision(message.path != "app://item/7", cache=message.path.startswith("app://item"))

    def setup(stage: Stage) -> None:
        @stage.app.route("app://item/{id}", expose=True)
        def item(id: int) -> int:
            return id

    authentication = {"authenticator": tokens(), "mode": "optional"}
    async with serving(engine, authentication, setup, routing={"policy": policy}) as stage:
        async with stage.client(token=TOKEN) as client:
            for _ in range(2):
                assert await client.request("app://item/1") == 1
                assert await client.request("app://item/2") == 2
                assert (await client.request("app://who"))["id"] == "ada"
                for number in (7, 8, 9):
                    answer = await client.send({"path": f"app://item/{number}"})
                    assert answer["error"]["code"] == "FORBIDDEN"
            paths = [path for path, _ in asked]
            assert paths.count("app://item/1") == paths.count("app://item/7") == 1
            assert paths.count("app://who") == 2
            await client.request("websocket://authenticate", {"token": NEWER})
            assert await client.request("app://item/1") == 1
            assert [path for path, _ in asked].count("app://item/1") == 2
        async with stage.client() as client:
            assert (await client.send({"path": "app://item/7"}))["error"]["code"] == "UNAUTHORIZED"
        before = len(asked)
        assert await stage.system.send(Message("app://item/7")) == 7
        assert len(asked) == before


@every_engine
async def test_handlers_of_clients_messages_have_the_settings_of_routes(engine: str) -> None:
    def setup(stage: Stage) -> None:
        register = stage.sockets.register_message_handler
        register("app://open", lambda: "open", expose="public", safe=True)
        register("app://closed", lambda: "closed", expose="authenticated")
        register("app://both", lambda: "both", expose="authenticated", requires={"write"})
        register("app://rare", lambda: "rare", limit=RateLimiter(1, 3600.0))
        register("app://slow", asyncio.Event().wait, timeout=0.05, isolated=True)

    async with serving(engine, {"authenticator": tokens(), "mode": "optional"}, setup) as stage:

        async def codes(*paths: str, **settings: Any) -> list[str]:
            async with stage.client(**settings) as client:
                answers = [await client.send({"path": f"app://{path}"}) for path in paths]
                return [each["data"] if each["success"] else each["error"]["code"] for each in answers]

        paths = ("open", "closed", "both", "rare", "rare", "slow")
        unknown, rare = ["UNAUTHORIZED"] * 2, ["rare", "RATE_LIMITED", "TIMEOUT"]
        assert await codes(*paths) == ["open", *unknown, *rare]
        assert await codes(*paths, token=TOKEN) == ["open", "closed", "FORBIDDEN", *rare]
        assert await codes(*paths, token=NEWER) == ["open", "closed", "both", *rare]


@pytest.mark.parametrize(
    "settings",
    [{"expose": False}, {"expose": None}, {"expose": "private"}, {"default": True}, {"safe": "yes"}, {"requires": "x"}],
    ids=str,
)
async def test_settings_that_a_handler_of_clients_messages_cannot_have(settings: dict[str, Any]) -> None:
    async with serving("memory", {}) as stage:
        with pytest.raises(RouteError, match="app://x"):
            stage.sockets.websocket.register_message_handler("app://x", lambda: 1, **settings)
        stage.sockets.websocket.register_message_handler("app://x", lambda: 1)  # nothing is left of those


@every_engine
async def test_private_and_absent_look_the_same(engine: str) -> None:
    def setup(stage: Stage) -> None:
        stage.app.register_route("app://hidden", lambda: 1, requires={"root"})
        stage.app.register_route("app://hidden/{id}", lambda id: 1)

    async with serving(engine, {"authenticator": tokens()}, setup) as stage, stage.client(token=TOKEN) as client:
        answers = set()
        for path in ("app://hidden", "app://absent", "app://hidden/1", "app://absent/1", "websocket://connect",
                     "websocket://absent", "nobody://absent", "websocket://broadcast", "app://hidden/%2F"):  # fmt: skip
            answer = await client.send({"path": path, "correlationId": "x"})
            answer["metadata"] = sorted(answer["metadata"])
            answers.add(str(answer))
        assert len(answers) == 1


async def test_what_stands_open_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def setup(stage: Stage) -> None:
        stage.app.register_route("app://change", lambda: 1, expose="public")
        stage.sockets.register_message_handler("app://handled", lambda: 1)
        stage.sockets.register_message_handler("app://harmless", lambda: 1, safe=True)
        stage.sockets.register_message_handler("app://ours", lambda: 1, expose="authenticated")

    async with serving("memory", {"authenticator": tokens(), "mode": "optional"}, setup):
        pass
    [listed] = [each.getMessage() for each in caplog.records if "clients may call" in each.getMessage()]
    assert "app://change" in listed and "app://known (authenticated)" in listed
    assert "app://handled" in listed and "app://ours (authenticated)" in listed
    assert "app://write (requires write)" in listed
    [warning] = [each.getMessage() for each in caplog.records if "Unauthenticated clients" in each.getMessage()]
    assert "app://change" in warning and "app://who" not in warning and "app://known" not in warning
    assert "app://handled" in warning and "app://harmless" not in warning and "app://ours" not in warning
    caplog.clear()
    async with serving("memory", {"authenticator": tokens()}, setup):
        pass
    assert "Unauthenticated clients" not in caplog.text


@every_engine
async def test_no_token_is_ever_logged(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    listen(caplog)
    seen: list[Any] = []

    async def watch(message: Any, options: Any, call_next: Any) -> Any:
        seen.append(message.path)
        return await call_next()

    def setup(stage: Stage) -> None:
        stage.system.use(watch)

    async with serving(engine, {"authenticator": tokens()}, setup) as stage:
        headers = {"Origin": same_origin(stage), "Cookie": f"sid={COOKIE}"}
        async with stage.client(f"?token={NEWER}", headers=headers) as client:
            await client.request("websocket://authenticate", {"token": TOKEN})
            await client.request("app://who")
        assert await stage.refused(subprotocols=["mycelia.v1.json", bearer("wrong-token-1")]) == 4401
        assert await stage.refused(token="wrong-token-2") == 4401
    assert seen == ["app://who"]
    for secret in (TOKEN, NEWER, COOKIE, "wrong-token-1", bearer("wrong-token-1"), "wrong-token-2"):
        assert secret not in caplog.text
