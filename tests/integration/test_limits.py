"""Every limit is crossed by one and kept under by one, on every engine, and counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import pytest

from mycelia import BaseSubsystem, Message, MessageSystem, MessageTooLarge, RateLimiter
from mycelia.auth import Credential, Identity
from mycelia.errors import Forbidden, NoCredential, Unauthorized, Unavailable, Untimely
from mycelia.protocol.http.request import HEAD_LIMIT_BYTES, HEADER_LIMIT
from mycelia.protocol.wire.codec import CODECS
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.raw_client import HandshakeResponse, RawClient, connect_raw_client
from mycelia.transports.memory.socket import request_head
from mycelia.websocket import WebSocketSubsystem
from tests.integration.harness import until, within

each_engine = pytest.mark.parametrize("engine", ["picows", "websockets", "memory"])
EVER = 3600.0  # a window in which no token comes back during a test
HEAD = request_head("ws://127.0.0.1/ws")


class Guest:
    """A client that sends what it is told to and answers nothing by itself."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    async def answer(self) -> HandshakeResponse | None:
        return await within(self.client.answer())

    async def ask(self, head: bytes = HEAD) -> HandshakeResponse:
        await self.client.send_head(head)
        answer = await self.answer()
        assert answer is not None, "expected an answer to the handshake, the server hung up"
        return answer

    async def send(self, path: str, body: Any = None, key: Any = "k", **metadata: Any) -> None:
        envelope = {"path": path, "body": body, "correlationId": key, "metadata": metadata}
        if not metadata:
            del envelope["metadata"]
        await self.text(json.dumps(envelope))

    async def text(self, payload: str | bytes) -> None:
        await self.frame(Opcode.TEXT, payload.encode() if isinstance(payload, str) else payload)

    async def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        await within(self.client.send(opcode, payload, fin=fin))

    async def receive(self) -> Any:
        """The next message; pongs and pings are passed over."""
        while True:
            frame = await within(self.client.receive())
            assert frame is not None, "expected a message, the server hung up"
            assert frame.opcode != Opcode.CLOSE, f"expected a message, got Close {parse_close(frame.payload)}"
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                return json.loads(frame.payload)

    async def request(self, path: str, body: Any = None, key: Any = "k", **metadata: Any) -> dict[str, Any]:
        await self.send(path, body, key, **metadata)
        answer: dict[str, Any] = await self.receive()
        assert answer["correlationId"] == key
        return answer

    async def code(self, path: str, body: Any = None, **metadata: Any) -> str:
        """How a request is answered: `ok`, or the code of its error."""
        answer = await self.request(path, body, **metadata)
        return "ok" if answer["success"] else str(answer["error"]["code"])

    async def closed(self) -> int:
        """The code of the server's Close, which may come after messages; 1006 for none."""
        while (frame := await within(self.client.receive())) is not None:
            if frame.opcode == Opcode.CLOSE:
                return parse_close(frame.payload)[0]
        return 1006


class Hall:
    """The server under test."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.guests: list[Guest] = []
        self.told: list[str] = []
        self.gate = asyncio.Event()  # what `app://wait` waits for

    @property
    def facet(self) -> Any:
        return self.sockets.websocket

    def count(self, limit: str) -> int:
        """What the statistics say of a limit."""
        counts: dict[str, int] = self.sockets.find("statistics").snapshot()["websocket"]["limits"]
        return counts[limit]

    async def dial(self) -> Guest:
        guest = Guest(await connect_raw_client(self.facet.engines[0]))
        self.guests.append(guest)
        return guest

    async def status(self, *headers: tuple[str, str], target: str = "/ws", offer: Sequence[str] = ()) -> int:
        guest = await self.dial()
        return (await guest.ask(request_head(f"ws://127.0.0.1{target}", headers, offer))).status

    async def open(self, *headers: tuple[str, str]) -> Guest:
        guest = await self.dial()
        assert (await guest.ask(request_head("ws://127.0.0.1/ws", headers))).status == 101
        return guest

    async def refused(self) -> bool:
        """Whether a new connection is reset without an answer."""
        guest = await self.dial()
        await guest.client.send_head(HEAD)
        return await guest.answer() is None

    async def leave(self, guest: Guest, left: int) -> None:
        """Hangs up and waits until the server has noticed."""
        await guest.client.hang_up()
        await until(lambda: self.facet.get_connection_count() == left)


@asynccontextmanager
async def serving(engine: str, setup: Callable[[Hall], object] | None = None, **config: Any) -> AsyncIterator[Hall]:
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0, **config.pop("websocket", {})}
    connection = {"close_timeout": 0.1, **config.pop("connection", {})}  # a guest never answers a Close
    hall = Hall({"websocket": endpoint, "connection": connection, "limits": config.pop("limits", {}), **config})

    @hall.app.route("app://echo", expose=True)
    async def echo(message: Any, params: Any, options: Any) -> Any:
        return message.body

    @hall.app.route("app://wait", expose=True)
    async def wait(message: Any, params: Any, options: Any) -> Any:
        await hall.gate.wait()
        return message.body

    if setup is not None:
        setup(hall)
    async with hall.system:
        yield hall
        hall.gate.set()
        for guest in hall.guests:
            await guest.client.hang_up()


def rate(most: int) -> dict[str, Any]:
    return {"max_messages": most, "window": EVER}


# -- connections ---------------------------------------------------------------------------------------


@each_engine
async def test_connections_in_all(engine: str) -> None:
    async with serving(engine, connection={"max_connections": 2}) as hall:
        first, _ = await hall.open(), await hall.open()
        refused = await (await hall.dial()).ask()
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        await hall.leave(first, 1)
        await hall.open()
        assert hall.count("connections") == 1


@each_engine
async def test_connections_of_one_address(engine: str) -> None:
    async with serving(engine, limits={"connections_per_address": 2}) as hall:
        first, _ = await hall.open(), await hall.open()
        refused = await (await hall.dial()).ask()
        assert refused.status == 429 and b"limits.connectionsPerAddress" in refused.body
        await hall.leave(first, 1)
        await hall.open()
        assert hall.count("connectionsPerAddress") == 1


@each_engine
async def test_behind_a_trusted_proxy_the_address_is_the_one_that_it_names(engine: str) -> None:
    limits = {"connections_per_address": 1, "trusted_proxies": ["127.0.0.0/8"], "accept_rate_per_address": rate(1)}
    async with serving(engine, limits=limits) as hall:
        for client in ("192.0.2.1", "192.0.2.2", "203.0.113.9, 192.0.2.3", "2001:db8:1::1"):
            await hall.open(("X-Forwarded-For", client))
        seen = {each.client.remote_address for each in hall.facet.get_all_connections()}
        assert seen == {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:1::1"}
        for client in ("192.0.2.1", "198.51.100.1, 192.0.2.2", "2001:db8:1::2"):  # the last is in the same /64
            assert await hall.status(("X-Forwarded-For", client)) == 429


@each_engine
async def test_connections_of_one_principal(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            options.connection.metadata["userId"] = message.body["token"]

        @hall.sockets.route("websocket://disconnect")
        async def disconnect(message: Any, params: Any, options: Any) -> None:
            hall.told.append(f"accepted {message.body['accepted']}")

    def token(name: str) -> tuple[str, str]:
        return "Authorization", f"Bearer {name}"

    async with serving(engine, setup, limits={"connections_per_principal": 2}) as hall:
        first, _ = await hall.open(token("ada")), await hall.open(token("ada"))
        await until(lambda: hall.facet.get_connection_count() == 2)
        assert await (await hall.open(token("ada"))).closed() == 4429
        assert await (await hall.open(token("bob"))).code("app://echo") == "ok"
        await until(lambda: hall.told == ["accepted False"])
        await hall.leave(first, 2)
        assert await (await hall.open(token("ada"))).code("app://echo") == "ok"
        assert hall.count("connectionsPerPrincipal") == 1


@each_engine
async def test_who_signs_in_by_a_message_of_the_application_counts_for_its_principal(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.app.route("app://sign-in", expose=True)
        async def sign_in(message: Any, params: Any, options: Any) -> str:
            options.connection.metadata["userId"] = message.body
            return "in"

        @hall.app.route("app://sign-out", expose=True)
        async def sign_out(connection: Any) -> None:
            del connection.metadata["userId"]

    async with serving(engine, setup, limits={"connections_per_principal": 2}) as hall:
        first, second, third, fourth = [await hall.open() for _ in range(4)]
        for guest in (first, second, second):
            assert await guest.code("app://sign-in", "ada") == "ok"
        await third.send("app://sign-in", "ada")
        assert await third.closed() == 4429
        assert await fourth.code("app://sign-in", "bob") == "ok"
        assert await first.code("app://sign-out") == "ok"
        assert await fourth.code("app://sign-in", "ada") == "ok"
        assert hall.count("connectionsPerPrincipal") == 1


# -- failed logins -------------------------------------------------------------------------------------


class Clerk:
    """An authenticator that knows one token, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def authenticate(self, credential: Credential) -> Identity:
        token = credential.required_token()
        self.asked.append(token)
        if self.gate is not None:
            await self.gate.wait()
        if token in FAULTS:
            raise FAULTS[token]
        if token != "good":
            raise Unauthorized("no such token")
        return Identity("ada")


FAULTS: Mapping[str, Exception] = {
    "none": NoCredential("not mine"),
    "over": Untimely("expired"),
    "away": Unavailable("no database"),
    "banned": Forbidden("banned"),
    "broken": KeyError("broken"),
}


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


async def login(hall: Hall, token: str, carrier: str) -> str | int:
    """How a login ends: `ada`, an HTTP status, or the code of a Close."""
    guest = await hall.dial()
    headers = [bearer(token)] if carrier == "handshake" else []
    answer = await guest.ask(request_head("ws://127.0.0.1/ws", headers))
    if answer.status != 101:
        assert answer.status == 429 and b"limits.failedLogins" in answer.body
        assert 0 < int(answer.headers["retry-after"]) <= EVER
        return answer.status
    path, body = ("app://echo", "ada") if carrier == "handshake" else ("websocket://authenticate", {"token": token})
    await guest.send(path, body)
    frame = await within(guest.client.receive())
    assert frame is not None
    if frame.opcode == Opcode.CLOSE:
        return parse_close(frame.payload)[0]
    data = json.loads(frame.payload)["data"]
    return str(data if isinstance(data, str) else data["subject"])


@each_engine
@pytest.mark.parametrize(("carrier", "refusal"), [("handshake", 429), ("message", 4429)])
async def test_failed_logins_of_one_address(engine: str, carrier: str, refusal: int) -> None:
    """However many connections it takes for them: beyond the rate nobody is asked, not even about a good one."""
    clerk = Clerk()
    async with serving(engine, limits={"failed_logins": rate(3)}, authentication={"authenticator": clerk}) as hall:
        tokens = ["bad-1", "good", "bad-2", "good", "good", "bad-3"]
        found = [await login(hall, token, carrier) for token in tokens]
        assert found == [4401, "ada", 4401, "ada", "ada", 4401]
        assert (hall.count("failedLogins"), hall.count("authentication")) == (0, 3)
        assert [await login(hall, token, carrier) for token in ("bad-4", "good")] == [refusal] * 2
        assert clerk.asked == tokens
        assert (hall.count("failedLogins"), hall.count("authentication")) == (2, 3)


@each_engine
async def test_failed_renewals_count_as_well_and_are_told_when_to_come_again(engine: str) -> None:
    clerk = Clerk()
    authentication = {"authenticator": clerk, "mode": "optional"}
    limits = {"failed_logins": rate(3), "abuse": rate(2)}
    async with serving(engine, limits=limits, authentication=authentication) as hall:
        first, second = await hall.open(), await hall.open()
        for guest in (first, second, first):
            assert await guest.code("websocket://authenticate", {"token": "bad"}) == "UNAUTHORIZED"
        for guest in (first, second):
            answer = await guest.request("websocket://authenticate", {"token": "good"})
            assert answer["error"]["code"] == "RATE_LIMITED" and answer["error"]["retryable"] is True
            assert 0 < answer["error"]["details"]["retryAfterMs"] <= EVER * 1000 / 3
        assert await first.code("app://echo") == "ok", "what is no login goes on"
        assert await hall.status() == 101, "who brings no credential comes in"
        assert await first.code("websocket://authenticate", {"token": "good"}) == "RATE_LIMITED"
        await first.send("websocket://authenticate", {"token": "good"})
        assert await first.closed() == 4429, "going on after refusals is abuse here, too"
        assert clerk.asked == ["bad"] * 3 and hall.count("failedLogins") == 4


@each_engine
async def test_who_is_in_renews_whatever_others_of_the_address_guess(engine: str) -> None:
    """Else whoever shares an address could have everybody behind it thrown out when their credentials expire."""
    clerk = Clerk()
    limits = {"failed_logins": rate(2)}
    async with serving(engine, limits=limits, authentication={"authenticator": clerk}) as hall:
        honest, guesser = [await hall.open(bearer("good")) for _ in range(2)]
        assert await guesser.code("websocket://authenticate", {"token": "bad"}) == "UNAUTHORIZED"
        assert await login(hall, "bad", "handshake") == 4401
        assert await login(hall, "good", "handshake") == 429
        for _ in range(3):
            assert await honest.code("websocket://authenticate", {"token": "good"}) == "ok"
        assert await guesser.code("websocket://authenticate", {"token": "good"}) == "RATE_LIMITED", "it guessed"
        assert await honest.code("websocket://authenticate", {"token": "bad"}) == "UNAUTHORIZED"
        assert await honest.code("websocket://authenticate", {"token": "bad"}) == "RATE_LIMITED", "now it guesses"


@each_engine
@pytest.mark.parametrize("token", FAULTS)
async def test_what_is_no_guess_is_not_counted(engine: str, token: str) -> None:
    limits, clerk = {"failed_logins": rate(1)}, Clerk()
    async with serving(engine, limits=limits, authentication={"authenticator": clerk, "deadline": 0}) as hall:
        for _ in range(3):
            assert await login(hall, token, "handshake") in (4401, 4403, 1011, 1013)
        assert await login(hall, "x" * 9000, "handshake") == 4401  # which nobody was asked about
        assert await login(hall, "good", "handshake") == "ada"
        assert clerk.asked == [token] * 3 + ["good"]


@each_engine
async def test_guessing_side_by_side_is_no_faster(engine: str) -> None:
    clerk = Clerk()
    clerk.gate = asyncio.Event()
    async with serving(engine, limits={"failed_logins": rate(3)}, authentication={"authenticator": clerk}) as hall:
        guesses = [asyncio.create_task(login(hall, "bad", "handshake")) for _ in range(6)]
        await until(lambda: len(clerk.asked) == 6)
        clerk.gate.set()
        assert await asyncio.gather(*guesses) == [4401] * 6, "all came before one was found bad"
        refused = await (await hall.dial()).ask(request_head("ws://127.0.0.1/ws", [bearer("good")]))
        assert refused.status == 429
        assert 3 * EVER / 3 < int(refused.headers["retry-after"]) <= 4 * EVER / 3, "three too many, and the next"


@each_engine
async def test_failed_logins_of_another_address_are_anothers(engine: str) -> None:
    limits = {"failed_logins": rate(1), "trusted_proxies": ["127.0.0.1"]}
    async with serving(engine, limits=limits, authentication={"authenticator": Clerk()}) as hall:

        async def status(address: str, token: str = "bad") -> int:
            return await hall.status(("X-Forwarded-For", address), bearer(token))

        for address in ("192.0.2.1", "2001:db8:1::1"):
            guest = await hall.open(("X-Forwarded-For", address), bearer("bad"))
            assert await guest.closed() == 4401
        assert [await status("192.0.2.1"), await status("2001:db8:1::2")] == [429, 429]
        assert [await status("192.0.2.2", "good"), await status("2001:db8:2::1", "good")] == [101, 101]


@each_engine
@pytest.mark.parametrize("how", ["raises", "returns"])
async def test_a_connect_handler_that_refuses_tokens_is_not_asked_for_ever(engine: str, how: str) -> None:
    """The seed's own way: without an authenticator it is `connect` that says what a token is worth."""

    def setup(hall: Hall) -> None:
        @hall.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> Any:
            token = message.body["token"]
            hall.told.append(str(token))
            if token in FAULTS:
                raise FAULTS[token]
            if token in ("good", None):
                return None
            if how == "raises":
                raise Unauthorized("no such token")
            return {"success": False}

    async with serving(engine, setup, limits={"failed_logins": rate(3)}) as hall:
        tokens = ["bad-1", "over", "banned", "bad-2", "good", "bad-3"]
        found = [await login(hall, token, "handshake") for token in tokens]
        assert found == [4401, 4401, 4403, 4401, "ada", 4401]
        assert [await login(hall, token, "handshake") for token in ("bad-4", "good")] == [429] * 2
        assert hall.told == tokens and hall.count("failedLogins") == 2
        assert await hall.status() == 101, "who brings no token is let in as ever"


@each_engine
async def test_without_that_limit_one_may_guess(engine: str) -> None:
    async with serving(engine, limits={"failed_logins": None}, authentication={"authenticator": Clerk()}) as hall:
        assert [await login(hall, "bad", "handshake") for _ in range(25)] == [4401] * 25
        assert await login(hall, "good", "handshake") == "ada"


@each_engine
@pytest.mark.parametrize(
    ("key", "counter"), [("max_half_open", "halfOpen"), ("max_half_open_per_address", "halfOpenPerAddress")]
)
async def test_half_open_connections(engine: str, key: str, counter: str) -> None:
    async with serving(engine, connection={key: 2}) as hall:
        waiting = [await hall.dial() for _ in range(2)]
        for guest in waiting:
            await guest.client.send_head(HEAD[:20])
        await until(lambda: hall.sockets.find("statistics").snapshot()["websocket"]["halfOpen"] == 2)
        assert await hall.refused() and hall.count(counter) == 1
        assert (await waiting[0].ask(HEAD[20:])).status == 101
        await hall.open()
        assert (await waiting[1].ask(HEAD[20:])).status == 101


@each_engine
@pytest.mark.parametrize(
    ("key", "counter"), [("accept_rate", "acceptRate"), ("accept_rate_per_address", "acceptRatePerAddress")]
)
async def test_accepts_in_a_time(engine: str, key: str, counter: str) -> None:
    async with serving(engine, limits={key: rate(3)}) as hall:
        for _ in range(3):
            await hall.open()
        assert await hall.refused() and hall.count(counter) == 1


@each_engine
async def test_the_handshake_has_a_deadline(engine: str) -> None:
    async with serving(engine, connection={"connection_timeout": 0.1}) as hall:
        guest = await hall.dial()
        assert (await guest.ask(HEAD[:-2])).status == 408
        assert (hall.count("handshakeTime"), hall.count("handshake")) == (1, 0)


@each_engine
async def test_header_lines_and_bytes_of_a_head(engine: str) -> None:
    lines = HEAD.count(b"\r\n") - 2
    async with serving(engine) as hall:
        for count, status in ((HEADER_LIMIT, 101), (HEADER_LIMIT + 1, 431)):
            assert await hall.status(*((f"X-{n}", "v") for n in range(count - lines))) == status
        room = HEAD_LIMIT_BYTES - len(HEAD) - len("X-Fill: \r\n")
        for size, status in ((room, 101), (room + 1, 431)):
            assert await hall.status(("X-Fill", "v" * size)) == status
        assert hall.count("handshake") == 2


@each_engine
@pytest.mark.parametrize(
    ("headers", "target", "offer", "status"),
    [
        ([], "/ws?a=%C3%A9&b=1", [], 101),
        ([], "/ws/", [], 404),
        ([], "/ws%2F", [], 404),
        ([], "/ws?a=%zz", [], 400),
        ([], "/ws?a=%f", [], 400),
        ([], "/ws?a=%ff", [], 400),
        ([], "/ws?a=%00", [], 400),
        ([], "/ws?" + "&".join(["a=1"] * 4), [], 101),
        ([], "/ws?" + "&".join(["a=1"] * 5), [], 400),
        ([], "/ws", ["mycelia.v1.json"], 101),
        ([], "/ws", ["mycelia.v1.json", "mycelia.v1.json"], 400),
        ([], "/ws", ["mycelia.v1.json", "not a token"], 400),
        ([], "/ws", ["mycelia.v1.json", *(f"x{n}" for n in range(31))], 101),
        ([], "/ws", ["mycelia.v1.json", *(f"x{n}" for n in range(32))], 400),
        ([("Origin", "https://a.example.com")], "/ws", [], 101),
        ([("Origin", "https://b.a.example.com")], "/ws", [], 101),
        ([("Origin", "https://example.com")], "/ws", [], 403),
        ([("Origin", "https://example.com.evil.org")], "/ws", [], 403),
        ([("Origin", "http://a.example.com")], "/ws", [], 403),
        ([("Origin", "null")], "/ws", [], 403),
        ([("Host", "localhost:8080")], "/ws", [], 101),
        ([("Host", "evil.example")], "/ws", [], 421),
        ([("Host", "127.0.0.1.evil.example")], "/ws", [], 421),
    ],
)
async def test_what_a_handshake_may_say(
    engine: str, headers: list[tuple[str, str]], target: str, offer: list[str], status: int
) -> None:
    server = {"allowed_origins": ["https://*.example.com"], "allowed_hosts": ["127.0.0.1", "localhost"]}
    async with serving(engine, websocket=server, limits={"query_parameters": 4}) as hall:
        assert await hall.status(*headers, target=target, offer=offer) == status
        counted = {403: "origin", 421: "host", 400: "handshake", 404: "handshake"}
        assert status == 101 or hall.count(counted[status]) == 1


# -- messages ------------------------------------------------------------------------------------------


@each_engine
async def test_size_of_a_message_in(engine: str) -> None:
    frame = json.dumps({"path": "app://echo", "body": ""})
    for extra, fine in ((0, True), (1, False)):
        async with serving(engine, websocket={"max_payload": 200}) as hall:
            guest = await hall.open()
            await guest.text(frame[:-2] + "x" * (200 - len(frame) + extra) + frame[-2:])
            if fine:
                assert (await guest.receive())["success"]
            else:
                assert await guest.closed() == 1009
            assert hall.count("messageBytes") == extra


@each_engine
async def test_size_of_a_reply(engine: str) -> None:
    async with serving(engine, limits={"outbound_bytes": 1024}) as hall:
        guest = await hall.open()
        await guest.send("app://echo", "x", "k", traceId="t")
        frame = await within(guest.client.receive())
        assert frame is not None
        room = 1024 - len(frame.payload) + 1
        assert await guest.code("app://echo", "x" * room, traceId="t") == "ok"
        assert await guest.code("app://echo", "x" * (room + 1), traceId="t") == "HANDLER_ERROR"
        assert await guest.code("app://echo", "x" * 5000) == "HANDLER_ERROR"
        assert await guest.code("app://echo", "x") == "ok"
        assert hall.count("outboundBytes") == 2


@each_engine
async def test_size_of_what_is_sent_and_broadcast(engine: str) -> None:
    event = {"event": "news", "data": ""}
    room = 1024 - len(json.dumps(event, separators=(",", ":")))
    async with serving(engine, limits={"outbound_bytes": 1024}) as hall:
        guest = await hall.open()
        [connection] = hall.facet.get_all_connections()
        for send in (hall.facet.broadcast, connection.send):
            await send({**event, "data": "x" * room})
            assert len((await guest.receive())["data"]) == room
            with pytest.raises(MessageTooLarge, match="at most 1024 bytes"):
                await send({**event, "data": "x" * (room + 1)})
        with pytest.raises(Exception, match="at most 1024 bytes"):
            await hall.system.send(Message("websocket://broadcast", {**event, "data": "x" * 1100}))
        assert await guest.code("app://echo") == "ok", "nothing of it was sent"
        assert hall.count("outboundBytes") == 3


@each_engine
@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_values_of_a_message(engine: str, codec: str) -> None:
    most, encode, decode = 32_768, CODECS[codec].encode_value, CODECS[codec].decode_value

    def setup(hall: Hall) -> None:
        hall.app.register_route("app://size", lambda message, params, options: len(message.body), expose=True)

    async with serving(engine, setup, limits={"message_values": most}) as hall:
        guest = await hall.dial()
        await guest.ask(request_head("ws://127.0.0.1/ws", (), [f"mycelia.v1.{codec}"]))
        opcode = Opcode.BINARY if codec == "msgpack" else Opcode.TEXT

        async def ask(values: int) -> Any:  # the envelope, its path, its correlation id and the list are four
            body = ["a,b"] * (values - 4)
            await guest.frame(opcode, encode({"path": "app://size", "body": body, "correlationId": "k"}))
            while True:
                frame = await within(guest.client.receive())
                assert frame is not None
                answer = decode(frame.payload)
                assert isinstance(answer, dict)
                if "success" in answer:
                    assert answer["correlationId"] == "k"
                    return answer["data"] if answer["success"] else answer["error"]

        assert await ask(most) == most - 4
        error = await ask(most + 1)
        assert error["code"] == "INVALID_MESSAGE" and error["details"] == {"limit": most}
        assert await ask(10) == 6
        assert hall.count("messageValues") == 1


@each_engine
async def test_nesting(engine: str) -> None:
    async with serving(engine) as hall:
        guest = await hall.open()
        for depth, code in ((63, "ok"), (64, "INVALID_JSON")):  # and the envelope around it
            await guest.text('{"path":"app://echo","body":' + "[" * depth + "]" * depth + "}")
            answer = await guest.receive()
            assert (answer["error"]["code"] if not answer["success"] else "ok") == code


@each_engine
async def test_bytes_of_unfinished_messages(engine: str) -> None:
    async with serving(engine, websocket={"max_payload": 1000}, connection={"inbound_bytes": 2000}) as hall:
        guests = [await hall.open() for _ in range(3)]
        for guest, size in zip(guests, (600, 700, 700), strict=True):
            await guest.frame(Opcode.BINARY, b"x" * size, fin=False)
            await guest.frame(Opcode.PING)
            pong = await within(guest.client.receive())
            assert pong is not None and pong.opcode == Opcode.PONG, "2000 are not too many"
        await guests[1].frame(Opcode.CONTINUATION, b"x", fin=False)
        assert await guests[1].closed() == 1012
        assert hall.count("inboundBytes") == 1
        for number in (0, 2):
            await guests[number].frame(Opcode.CONTINUATION, b"")
            assert (await guests[number].receive())["error"]["code"] == "UNSUPPORTED_DATA"


@each_engine
async def test_requests_that_wait(engine: str) -> None:
    limits = {"backlog_requests": 2, "pause_timeout": 0.05}
    async with serving(engine, connection=limits) as hall:
        guest = await hall.open()
        for key in ("runs", "waits"):
            await guest.send("app://wait", None, key)
        hall.gate.set()
        assert [(await guest.receive())["correlationId"] for _ in range(2)] == ["runs", "waits"]
        hall.gate.clear()
        for key in ("runs", "waits", "is one too many"):
            await guest.send("app://wait", None, key)
        refused = await guest.receive()
        assert (refused["correlationId"], refused["error"]["code"]) == ("is one too many", "OVERLOADED")
        assert hall.sockets.find("statistics").snapshot()["websocket"]["refused"] == 1
        hall.gate.set()
        assert [(await guest.receive())["correlationId"] for _ in range(2)] == ["runs", "waits"]


@each_engine
async def test_requests_that_overlap(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.app.route("app://beside", expose=True, concurrent=True)
        async def beside(message: Any, params: Any, options: Any) -> None:
            await hall.gate.wait()

    async with serving(engine, setup, connection={"concurrent_requests": 2}) as hall:
        guest = await hall.open()
        for key in ("a", "b", "c"):
            await guest.send("app://beside", None, key)
        refused = await guest.receive()
        assert (refused["correlationId"], refused["error"]["code"]) == ("c", "OVERLOADED")
        hall.gate.set()
        assert {(await guest.receive())["correlationId"] for _ in range(2)} == {"a", "b"}


# -- rates ---------------------------------------------------------------------------------------------


@each_engine
async def test_messages_of_one_connection(engine: str) -> None:
    async with serving(engine, limits={"ratePerConnection": {"maxMessages": 3, "windowMs": 3_600_000}}) as hall:
        guest, other = await hall.open(), await hall.open()
        for _ in range(3):
            assert await guest.code("app://echo") == "ok"
        answer = await guest.request("app://echo", key={"any": "id"})
        assert (answer["error"]["code"], answer["error"]["retryable"]) == ("RATE_LIMITED", True)
        assert 0 < answer["error"]["details"]["retryAfterMs"] <= 1_200_000
        assert await other.code("app://echo") == "ok"
        assert hall.count("ratePerConnection") == 1


@each_engine
async def test_a_refusal_waits_for_its_turn(engine: str) -> None:
    async with serving(engine, limits={"rate_per_connection": rate(2)}) as hall:
        guest = await hall.open()
        await guest.send("app://wait", None, "a")
        await guest.send("app://echo", None, "b")
        for key in ("c", "d"):
            await guest.send("app://echo", None, key)
        await until(lambda: hall.count("ratePerConnection") == 2)
        hall.gate.set()
        answers = [await guest.receive() for _ in range(4)]
        assert [(each["correlationId"], each["success"]) for each in answers] == [
            ("a", True), ("b", True), ("c", False), ("d", False),
        ]  # fmt: skip
        assert {each["error"]["code"] for each in answers[2:]} == {"RATE_LIMITED"}


@each_engine
async def test_what_wants_no_answer_is_counted_and_gets_none(engine: str) -> None:
    async with serving(engine, limits={"rate_per_connection": rate(3)}) as hall:
        guest = await hall.open()
        await guest.send("app://echo", noReply=True)
        await guest.text('{"event":"typing"}')
        await guest.text("no JSON at all")
        assert (await guest.receive())["error"]["code"] == "INVALID_JSON"
        await guest.send("app://echo", noReply=True)
        await guest.text('{"event":"typing"}')
        await guest.text("no JSON at all")
        answer = await guest.receive()
        assert (answer["error"]["code"], answer["correlationId"]) == ("RATE_LIMITED", None)
        assert await guest.code("app://echo") == "RATE_LIMITED"
        assert hall.count("ratePerConnection") == 4


@each_engine
async def test_messages_of_one_address(engine: str) -> None:
    async with serving(engine, limits={"rate_per_address": rate(3), "rate_per_connection": rate(2)}) as hall:
        guest, other = await hall.open(), await hall.open()
        assert [await guest.code("app://echo") for _ in range(3)] == ["ok", "ok", "RATE_LIMITED"]
        assert [await other.code("app://echo") for _ in range(2)] == ["ok", "RATE_LIMITED"]
        assert (hall.count("ratePerConnection"), hall.count("ratePerAddress")) == (1, 1)


@each_engine
async def test_messages_of_one_principal(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            if message.body["token"]:
                options.connection.metadata["userId"] = message.body["token"]

    async with serving(engine, setup, limits={"rate_per_principal": rate(3)}) as hall:
        ada, again = [await hall.open(("Authorization", "Bearer ada")) for _ in range(2)]
        bob, nobody = await hall.open(("Authorization", "Bearer bob")), await hall.open()
        assert [await each.code("app://echo") for each in (ada, again, ada, again)] == ["ok"] * 3 + ["RATE_LIMITED"]
        assert await bob.code("app://echo") == "ok"
        assert [await nobody.code("app://echo") for _ in range(4)] == ["ok"] * 4
        assert hall.count("ratePerPrincipal") == 1


@each_engine
async def test_messages_for_one_route(engine: str) -> None:
    def setup(hall: Hall) -> None:
        hall.app.register_route("app://each", lambda m: 1, expose=True, limit=RateLimiter(2, EVER))
        hall.app.register_route("app://all", lambda m: 1, expose=True, limit=RateLimiter(3, EVER, by="route"))

    async with serving(engine, setup) as hall:
        guest, other = await hall.open(), await hall.open()
        assert [await guest.code("app://each") for _ in range(3)] == ["ok", "ok", "RATE_LIMITED"]
        assert [await other.code("app://each") for _ in range(2)] == ["ok", "ok"]
        answer = await guest.request("app://each")
        assert 0 < answer["error"]["details"]["retryAfterMs"] <= EVER * 1000
        assert [await each.code("app://all") for each in (guest, other, guest, other)] == ["ok"] * 3 + ["RATE_LIMITED"]
        assert await guest.code("app://echo") == "ok"
        assert hall.count("ratePerRoute") == 3


@each_engine
async def test_a_limiter_that_connect_gives_to_one_client(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            options.connection.rate_limiter = RateLimiter(max_messages=2, window=EVER)

        @hall.app.route("app://free", expose=True)
        async def free(message: Any, params: Any, options: Any) -> None:
            options.connection.rate_limiter = None

    async with serving(engine, setup) as hall:
        guest = await hall.open()
        assert [await guest.code("app://echo") for _ in range(3)] == ["ok", "ok", "RATE_LIMITED"]
        other = await hall.open()
        assert await other.code("app://free") == "ok"
        assert [await other.code("app://echo") for _ in range(3)] == ["ok"] * 3


@each_engine
@pytest.mark.parametrize("how", ["connection", "route"])
async def test_who_goes_on_after_refusals_is_disconnected(engine: str, how: str) -> None:
    def setup(hall: Hall) -> None:
        hall.app.register_route("app://once", lambda m: 1, expose=True, limit=RateLimiter(1, EVER))
        hall.sockets.register_connection_handler("error", lambda m, p, o: hall.told.append("error"))
        hall.sockets.register_connection_handler("disconnect", lambda m, p, o: hall.told.append("disconnect"))

    limits = {"abuse": rate(2)} | ({"rate_per_connection": rate(1)} if how == "connection" else {})
    async with serving(engine, setup, limits=limits) as hall:
        guest = await hall.open()
        assert [await guest.code("app://once") for _ in range(3)] == ["ok", "RATE_LIMITED", "RATE_LIMITED"]
        await guest.send("app://once")
        assert await guest.closed() == 4429
        await until(lambda: len(hall.told) == 2)
        assert hall.told == ["error", "disconnect"] and hall.count("abuse") == 1


@each_engine
@pytest.mark.parametrize(
    "frames",
    [
        [(Opcode.PING, b"", True)] * 4,
        [(Opcode.PONG, b"", True)] * 4,
        [(Opcode.TEXT, b"", False), *[(Opcode.CONTINUATION, b"", False)] * 3],
        [(Opcode.TEXT, b"123456789", False), *[(Opcode.CONTINUATION, b"123456789", False)] * 3],
        [(Opcode.PING, b"", True), (Opcode.PONG, b"", True), (Opcode.TEXT, b"", False), (Opcode.PING, b"", True)],
    ],
    ids=["pings", "pongs", "empty fragments", "small fragments", "of each"],
)
async def test_control_frames_and_small_fragments(engine: str, frames: list[tuple[Opcode, bytes, bool]]) -> None:
    async with serving(engine, limits={"control_rate": rate(3), "small_fragment_bytes": 10}) as hall:
        guest = await hall.open()
        for opcode, payload, fin in frames[:3]:
            await guest.frame(opcode, payload, fin=fin)
        if frames[0][2] and frames[2][2]:
            assert await guest.code("app://echo") == "ok"
        else:
            await guest.frame(Opcode.CONTINUATION, b"no JSON")
            assert (await guest.receive())["error"]["code"] == "INVALID_JSON"
            await guest.frame(Opcode.TEXT, b"0123456789", fin=False)  # not small
        opcode, payload, fin = frames[3]
        await guest.frame(opcode, payload, fin=fin)
        assert await guest.closed() == 4429
        assert hall.count("controlRate") == 1


# -- times ---------------------------------------------------------------------------------------------


@each_engine
async def test_who_says_nothing_is_disconnected_and_who_speaks_is_not(engine: str) -> None:
    async with serving(engine, limits={"idle_timeout": 0.6}) as hall:
        silent, speaker = await hall.open(), await hall.open()
        closing = asyncio.create_task(silent.closed())
        while not closing.done():
            assert await speaker.code("app://echo") == "ok"
            await asyncio.wait([closing], timeout=0.02)
        assert await closing == 4506
        assert await speaker.code("app://echo") == "ok"
        assert hall.count("idle") == 1


@each_engine
async def test_a_connection_lives_so_long_and_no_longer(engine: str) -> None:
    async with serving(engine, limits={"connection_lifetime": 0.5}) as hall:
        guest = await hall.open()
        assert await guest.code("app://echo") == "ok"
        assert await guest.closed() == 4507
        assert hall.count("lifetime") == 1


@each_engine
@pytest.mark.parametrize("who", ["the configuration", "the route", "the request"])
async def test_a_handler_has_the_shortest_of_three_times(engine: str, who: str) -> None:
    def setup(hall: Hall) -> None:
        timeout = 0.05 if who == "the route" else EVER

        @hall.app.route("app://slow", expose=True, timeout=timeout)
        async def slow(message: Any, params: Any, options: Any) -> None:
            await hall.gate.wait()

    limits = {"handler_timeout": 0.05 if who == "the configuration" else EVER}
    async with serving(engine, setup, limits=limits) as hall:
        guest = await hall.open()
        given = 50 if who == "the request" else 60_000
        assert await guest.code("app://slow", timeoutMs=given) == "TIMEOUT"
        if who != "the request":
            assert await guest.code("app://slow") == "TIMEOUT"
        assert await guest.code("app://echo", timeoutMs=given) == "ok"
        assert await guest.code("app://echo") == "ok"
        assert hall.count("handlerTime") == {"the configuration": 2, "the route": 0, "the request": 1}[who]


@each_engine
async def test_what_a_handler_makes_of_its_time_being_over(engine: str) -> None:
    """Stubborn ones, some that turn the cancellation into something else, and quick ones between them."""

    def setup(hall: Hall) -> None:
        async def wait() -> None:
            await hall.gate.wait()

        @hall.app.route("app://overdue", expose=True)
        async def overdue(message: Any, params: Any, options: Any) -> None:
            try:
                await wait()
            finally:
                hall.told.append("cancelled")

        @hall.app.route("app://stubborn", expose=True)
        async def stubborn(message: Any, params: Any, options: Any) -> str:
            with suppress(asyncio.CancelledError):
                await wait()
            return "all the same"

        @hall.app.route("app://failing", expose=True)
        async def failing(message: Any, params: Any, options: Any) -> None:
            try:
                await wait()
            except asyncio.CancelledError as error:
                raise ValueError from error

        @hall.app.route("app://own", expose=True)
        async def own(message: Any, params: Any, options: Any) -> None:
            raise asyncio.CancelledError

    async with serving(engine, setup, limits={"handler_timeout": 0.05}) as hall:
        guest = await hall.open()
        for _ in range(2):
            assert await guest.code("app://echo") == "ok"
            assert await guest.code("app://overdue") == "TIMEOUT"
            assert await guest.code("app://own") == "CANCELLED"
            assert (await guest.request("app://stubborn"))["data"] == "all the same"
            assert await guest.code("app://failing") == "HANDLER_ERROR"
            assert await guest.code("app://echo") == "ok"
        assert hall.told == ["cancelled"] * 2 and hall.count("handlerTime") == 2
        routes = hall.system.statistics()["app"]["routes"]
        assert routes["app://overdue"]["failed"] == 2 and routes["app://echo"]["handled"] == 4


@each_engine
async def test_every_handler_has_the_whole_of_its_time(engine: str) -> None:
    """The timer that was set for an earlier one does not cut a later one short."""
    began: list[float] = []

    def setup(hall: Hall) -> None:
        @hall.app.route("app://slow", expose=True)
        async def slow(message: Any, params: Any, options: Any) -> None:
            began.append(monotonic())
            try:
                await hall.gate.wait()
            finally:
                began.append(monotonic())

    async with serving(engine, setup, limits={"handler_timeout": 0.2}) as hall:
        guest = await hall.open()
        until_then = monotonic() + 0.1
        while monotonic() < until_then:
            assert await guest.code("app://echo") == "ok"
        assert await guest.code("app://slow") == "TIMEOUT"
        assert began[1] - began[0] >= 0.19


# -- heartbeats ----------------------------------------------------------------------------------------


@each_engine
async def test_who_answers_pings_stays_and_who_does_not_is_told_so(engine: str) -> None:
    def setup(hall: Hall) -> None:
        hall.sockets.register_connection_handler(
            "error", lambda m, p, o: hall.told.append(f"error {m.body['closeCode']}")
        )
        hall.sockets.register_connection_handler("disconnect", lambda m, p, o: hall.told.append("disconnect"))

    async with serving(engine, setup, connection={"ping_interval": 0.1, "ping_timeout": 0.2}) as hall:
        alive = await hall.open()
        [connection] = hall.facet.get_all_connections()
        silent = await hall.open()
        lost = asyncio.create_task(silent.closed())
        while not lost.done():
            frame = await within(alive.client.receive())
            assert frame is not None and frame.opcode == Opcode.PING
            await alive.frame(Opcode.PONG, frame.payload)
        assert await lost == 4505
        assert connection.is_open and connection.rtt is not None and 0 <= connection.rtt < 5
        await until(lambda: len(hall.told) == 2)
        assert hall.told == ["error 4505", "disconnect"] and hall.count("heartbeat") == 1


@each_engine
async def test_a_blocked_loop_does_not_lose_its_own_clients(engine: str) -> None:
    def setup(hall: Hall) -> None:
        @hall.app.route("app://block", expose=True)
        def block() -> None:
            blocked_until = monotonic() + 1.0
            while monotonic() < blocked_until:
                pass

    async with serving(engine, setup, connection={"ping_interval": 0.1, "ping_timeout": 0.2}) as hall:
        guest, other = await hall.open(), await hall.open()
        frame = await within(guest.client.receive())
        assert frame is not None and frame.opcode == Opcode.PING
        await guest.frame(Opcode.PONG)  # it has arrived, and is not read before the loop is free again
        await other.send("app://block")
        assert (await other.receive())["success"]
        frame = await within(guest.client.receive())
        assert frame is not None and frame.opcode == Opcode.PING, "it is pinged on, not closed"
        await guest.frame(Opcode.PONG)
        assert hall.count("heartbeat") == 0
