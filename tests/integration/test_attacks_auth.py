"""Attacks on who may come in, what they may call and how much, with hand-made bytes on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import time
from typing import Any
from urllib.parse import quote

import pytest

from mycelia import Message, RateLimiter
from mycelia.auth import FirstOf, Identity, TokenAuthenticator
from mycelia.auth.jwks import Jwks, JwksLimits
from mycelia.auth.jwt import JwtAuthenticator, JwtRules
from mycelia.errors import HandlerError, Unavailable
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.websocket import Decision
from tests.integration.harness import Client, handshake, until, within
from tests.integration.test_authentication import (
    COOKIE,
    NEWER,
    OTHER,
    TOKEN,
    Stage,
    bearer,
    every_engine,
    listen,
    lookup,
    same_origin,
    serving,
    sessions,
    tokens,
)
from tests.unit.auth.keyring import SECRET, Issuer, jwk, private, serve
from tests.unit.auth.keyring import token as make_token

each_socket = pytest.mark.parametrize("engine", ["picows", "websockets"])
EVER = 3600.0
KEY = b"\x01\x02\x03\x04"


def port_of(stage: Stage) -> int:
    port = stage.sockets.websocket.get_port()
    assert port is not None
    return port


def limits_of(stage: Stage) -> Mapping[str, int]:
    found: Mapping[str, int] = stage.sockets.websocket.snapshot()["limits"]
    return found


def text(value: Any) -> bytes:
    return mask_frame(Opcode.TEXT, value if isinstance(value, bytes) else json.dumps(value).encode(), KEY, True, 0)


def authenticate(token: Any, key: Any = "a", **more: Any) -> bytes:
    return text({"path": "websocket://authenticate", "body": {"token": token}, "correlationId": key, **more})


def who(key: Any = "w") -> bytes:
    return text({"path": "app://who", "correlationId": key})


def head(*lines: str, target: str = "/ws", host: str = "127.0.0.1") -> bytes:
    """A handshake with lines as they are, so that one may come twice."""
    base = handshake(target, headers={"Host": host})
    return base[:-2] + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


async def told(stage: Stage, *packets: bytes) -> tuple[str, list[Any], int]:
    """What a peer gets for these bytes in one packet: the status line, the messages, the code of the Close."""
    async with Client.socket(port_of(stage)) as client:
        await client.write(b"".join(packets))
        data = b""
        while b"\r\n\r\n" not in data:
            data += (more := await client.read())
            if not more:
                return data.decode("latin-1"), [], 1006
        status, _, rest = data.partition(b"\r\n\r\n")
        if b" 101 " not in status:
            return status.decode("latin-1").splitlines()[0], [], 1006
        client.frames += client.parser.feed(rest)
        messages: list[Any] = []
        while (frame := await client.frame()) is not None:
            if frame.opcode == Opcode.CLOSE:
                return "101", messages, int.from_bytes(frame.payload[:2])
            messages.append(json.loads(frame.payload))
        return "101", messages, 1006


BYE = mask_frame(Opcode.CLOSE, b"\x03\xe8", KEY, True, 0)


async def name_of(stage: Stage, *lines: str, target: str = "/ws") -> str | int:
    """Who the server takes the peer of a handshake for; the close code of one that it refuses."""
    async with Client.socket(port_of(stage)) as client:
        await client.write(head(*lines, target=target))
        await client.upgraded()
        await client.write(who())
        frame = await client.frame()
        assert frame is not None
        if frame.opcode == Opcode.CLOSE:
            return int.from_bytes(frame.payload[:2])
        found: str = json.loads(frame.payload)["data"]["id"]
        return found


# -- carriers ----------------------------------------------------------------------------------------------


@each_socket
async def test_one_of_many_carriers_is_judged_and_only_that(engine: str) -> None:
    """A good token in a weaker carrier does not help a bad one in a stronger, nor a second of the same kind."""
    offered = f"Sec-WebSocket-Protocol: mycelia.v1.json, {bearer(OTHER)}"
    async with serving(engine, {"authenticator": tokens(), "deadline": 0}) as stage:
        cases: list[tuple[str | int, tuple[str, ...], str]] = [
            ("ada", (f"Authorization: Bearer {TOKEN}",), f"/ws?token={OTHER}"),
            (4401, ("Authorization: Bearer wrong",), f"/ws?token={OTHER}"),
            (4401, (f"Authorization: Bearer {TOKEN}, Bearer {OTHER}",), "/ws"),
            (4401, (f"Authorization: Bearer {TOKEN} {OTHER}",), "/ws"),
            (4401, (f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {OTHER}"), "/ws"),
            (4401, (f"Authorization: Basic {TOKEN}",), "/ws"),
            (4401, (f"Proxy-Authorization: Bearer {TOKEN}",), "/ws"),
            (4401, (), f"/ws?token={TOKEN}&token=wrong"),
            (4401, (), f"/ws?Token={TOKEN}"),
            (4401, (), f"/ws?token=%00{TOKEN}"[:4] + "token=" + TOKEN + "%20"),
            ("ada", (), f"/ws?tok%65n={TOKEN}"),
        ]
        for expected, lines, target in cases:
            assert await name_of(stage, *lines, target=target) == expected, (lines, target)
        async with Client.socket(port_of(stage)) as client:
            await client.write(head(offered, "Authorization: Bearer wrong"))
            assert "mycelia.bearer" not in await client.upgraded()
            assert (await client.closed())[0] == 4401
        for lines in ((f"{offered}, {bearer(TOKEN)}",), (f"Sec-WebSocket-Protocol: {bearer(TOKEN)}",)):
            assert (await told(stage, head(*lines)))[0].startswith("HTTP/1.1 400 ")


@each_socket
async def test_no_token_in_what_is_said_or_kept(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the log nor in the error record nor in what a client is told, whoever fails and however."""
    listen(caplog)
    secret = "t0p/secret+t0ken=%&ü"

    async def fail(token: str) -> Identity:
        raise ValueError(f"cannot read {token!r} ({token}) in {[token]} at /introspect?token={quote(token, safe='')}")

    async with serving(engine, {"authenticator": TokenAuthenticator(fail), "mode": "optional"}) as stage:
        escaped = "t0p%2Fsecret%2Bt0ken%3D%25%26%C3%BC"
        _, _, code = await told(stage, head(target=f"/ws?token={escaped}"))
        assert code == 1011
        _, messages, _ = await told(stage, head(), authenticate(secret), BYE)
        async with stage.client() as client:
            with pytest.raises(HandlerError) as failed:
                await client.request("websocket://authenticate", {"token": secret})
        shown = (
            json.dumps([messages, stage.sockets.websocket.errors()]) + repr(failed.value) + repr(failed.value.details)
        )
    for spelling in ("t0p/secret", escaped, "t0p%2Fsecret"):
        assert spelling not in caplog.text and spelling not in shown


# -- JSON Web Tokens ---------------------------------------------------------------------------------------


def forge(header: bytes, claims: bytes) -> str:
    signed = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims))
    digest = hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


HS = b'{"alg":"HS256"}'
GOOD = b'{"sub":"ada","exp":9999999999}'


@each_socket
async def test_tokens_that_are_signed_and_wrong(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each is the client's fault (4401), not a failure of the server, and none is a matter for the error log."""
    nines = b"9" * 400
    wrong = [
        forge(b'{"alg":"none"}', GOOD),
        forge(b'{"alg":"hs256"}', GOOD),
        forge(b'{"alg":["HS256"]}', GOOD),
        forge(b'{"alg":"HS256","crit":["exp"]}', GOOD),
        forge(b'{"alg":"HS256","b64":false,"crit":["b64"]}', GOOD),
        forge(b'{"alg":"HS256","kid":7}', GOOD),
        forge(b'{"alg":"HS256","kid":"%s"}' % (b"k" * 300), GOOD),
        forge(b'{"alg":"HS256","x":%s}' % (b"[" * 2000), GOOD),
        forge(b"[]", GOOD),
        forge(b"\xff\xfe", GOOD),
        forge(HS, b"[]"),
        forge(HS, b"{"),
        forge(HS, b'{"sub":"ada","x":%s}' % (b"[" * 2000 + b"]" * 2000)),
        *(
            forge(HS, b'{"sub":"ada","exp":%s}' % each)
            for each in (nines, b"NaN", b"Infinity", b'"9999999999"', b"true")
        ),
        *(forge(HS, b'{"sub":"ada","exp":%s}' % each) for each in (b"null", b"[9999999999]", b"-1", b"0", b"1e400")),
        *(forge(HS, GOOD[:-1] + b',"%s":%s}' % each) for each in ((b"nbf", nines), (b"iat", b'"0"'), (b"nbf", b"9e9"))),
        *(
            forge(HS, b'{"sub":%s,"exp":9999999999}' % each)
            for each in (b'""', b'["ada"]', b"7", b"null", b'"\\ud800"')
        ),
        *(forge(HS, GOOD[:-1] + b',"scope":%s}' % each) for each in (b"7", b"[7]", b"{}", b"null")),
        forge(HS, GOOD[:-1] + b',"aud":"another"}'),
        forge(HS, GOOD)[:-2],
        forge(HS, GOOD).replace(".", "..", 1),
        "..",
        "a" * 9000,
        "\0.\0.\0",
    ]
    caplog.set_level(logging.WARNING)
    limits = {"failed_logins": None}  # so that each is looked at
    async with serving(engine, {"authenticator": JwtAuthenticator(["HS256"], key=SECRET)}, limits=limits) as stage:
        for each in wrong:
            assert await told(stage, head(), authenticate(each)) == ("101", [], 4401), each
        jku = b'{"alg":"HS256","kid":"../../etc/passwd","jku":"http://127.0.0.1:1/","jwk":{"kty":"oct","k":"AA"}}'
        async with Client.socket(port_of(stage)) as client:
            await client.write(head() + authenticate(forge(jku, GOOD)) + who())
            await client.upgraded()
            assert (await client.receive())["data"]["subject"] == "ada"
    assert not caplog.records


async def test_issuers_and_audiences_are_compared_as_wholes() -> None:
    rules = JwtRules(issuer=["https://id.example.org", "other"], audience="us")
    authenticator = JwtAuthenticator(["HS256"], rules, key=SECRET)
    async with serving("picows", {"authenticator": authenticator}) as stage:
        for issuer, audience, code in (
            ('"https://id.example.org"', '["x","us"]', None),
            ('"https://id"', '"us"', 4401),
            ('["other"]', '"us"', 4401),
            ('{"other":1}', '"us"', 4401),
            ('"other"', '"u"', 4401),
            ('"other"', '{"us":1}', 4401),
            ('"other"', "[]", 4401),
        ):
            claims = GOOD[:-1] + f',"iss":{issuer},"aud":{audience}}}'.encode()
            async with Client.socket(port_of(stage)) as client:
                await client.write(head() + authenticate(forge(HS, claims)))
                await client.upgraded()
                found = (await client.closed())[0] if code else (await client.receive())["data"]["subject"]
                assert found == (code or "ada"), (issuer, audience)


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", id="redirect"
        ),
        pytest.param(_OK + b"Content-Length: 99999999\r\n\r\n{", id="huge"),
        pytest.param(_OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{", id="length-of-5000-digits"),
        pytest.param(_OK + b"Content-Length: -1\r\n\r\n{", id="negative"),
        pytest.param(_OK + b"\r\n" + b"[" * 100_000, id="endless"),
        pytest.param(_OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n", id="huge-chunk"),
        pytest.param(_OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx", id="negative-chunk"),
        pytest.param(_OK + b"Transfer-Encoding: gzip\r\n\r\n", id="coding"),
        pytest.param(_OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", id="compressed"),
        pytest.param(_OK + b"X: " + b"y" * 20_000 + b"\r\n\r\n{}", id="head"),
        pytest.param(_OK + b"\r\n" + b"[" * 40_000, id="deep"),
        pytest.param(_OK + b'\r\n{"keys":{"a":1}}', id="mapping"),
        pytest.param(
            _OK + b'\r\n{"keys":[[],7,null,{"kty":[]},{"kty":"RSA","n":7,"e":[]},{"kty":"EC","crv":{}}]}', id="odd"
        ),
        pytest.param(b"garbage\r\n\r\n", id="no-http"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_an_issuer_that_answers_nonsense_is_not_available(answer: bytes) -> None:
    async with serve(Issuer()) as issuer:
        issuer.raw = answer
        jwks = Jwks(issuer.url, JwksLimits(timeout=0.5, max_bytes=64 * 1024))
        with pytest.raises(Unavailable):
            await within(jwks.find("one", "RS256"))
        await jwks.close()


async def test_keys_of_another_use_never_check_a_token() -> None:
    good = make_token(private("rsa"), "RS256", {"kid": "one"}, exp=time() + 60)
    for odd in (
        {"use": "enc"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"key_ops": ["encrypt"]},
        {"alg": "PS256"},
        {"kid": 7},
    ):
        async with serve(Issuer({**jwk("rsa", "one"), **odd}, jwk("p256", "two"))) as issuer:
            authenticator = JwtAuthenticator(["RS256"], jwks=Jwks(issuer.url))
            async with serving("picows", {"authenticator": authenticator}) as stage:
                assert await stage.refused(token=good) == 4401, odd


async def test_a_flood_of_unknown_key_ids_asks_the_issuer_once() -> None:
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        clock = [1000.0]
        jwks = Jwks(issuer.url, clock=lambda: clock[0])
        authenticator = JwtAuthenticator(["RS256"], jwks=jwks)
        limits = {"failed_logins": None}
        async with serving("picows", {"authenticator": authenticator, "mode": "optional"}, limits=limits) as stage:
            flood = [make_token(private("rsa-2"), "RS256", {"kid": f"k{n}"}, exp=time() + 60) for n in range(12)]
            for _ in range(2):
                codes = await asyncio.gather(*(stage.refused(token=each) for each in flood))
                assert set(codes) == {4401}
            assert issuer.asked == 1
            clock[0] += 11
            issuer.keys[:] = [jwk("rsa-2", "k0")]  # rotated
            async with stage.client(token=flood[0]) as client:
                assert (await client.request("app://who"))["id"] == "ada"
            codes = await asyncio.gather(*(stage.refused(token=each) for each in flood[1:]))
            assert set(codes) == {4401} and issuer.asked == 2
            clock[0] -= 5000  # no clock may make it ask for every token
            await asyncio.gather(*(stage.refused(token=each) for each in flood[1:]))
            assert issuer.asked == 2


# -- cookies, Origin, Host, X-Forwarded-For -----------------------------------------------------------------


@each_socket
async def test_cookies_and_origins_that_must_not_count(engine: str) -> None:
    server = {"allowed_origins": ["https://app.example.org", "https://*.trusted.example", "null", "*"]}
    good, app = f"Cookie: sid={COOKIE}", "Origin: https://app.example.org"
    async with serving(engine, {"authenticator": sessions(), "deadline": 0}, server=server) as stage:
        counting: list[tuple[str, ...]] = [
            (good, app),
            (good, "Origin: HTTPS://APP.example.ORG"),
            (good, "Origin: https://app.example.org:443"),
            (good, "Origin: https://a.b.trusted.example"),
            (f'Cookie: sid="{COOKIE}"', app),
            (f"Cookie: a=b;;=; sid={COOKIE};", app),
            (good, good, app),
        ]
        for lines in counting:
            assert await name_of(stage, *lines) == "ada", lines
        not_counting: list[tuple[str, ...]] = [
            (good,),
            (good, "Origin: null"),
            (good, "Origin: https://app.example.org."),
            (good, "Origin: https://app.example.org:8443"),
            (good, "Origin: http://app.example.org"),
            (good, "Origin: https://trusted.example"),
            (good, "Origin: https://eviltrusted.example"),
            (good, "Origin: https://app.example.org.evil.net"),
            (good, "Origin: https://xn--pp-ria.example.org"),
            (f"Cookie: sid={COOKIE}; sid=x", app),
            (good, "Cookie: sid=x", app),
            (f"Cookie: SID={COOKIE}", app),
            (f"Cookie: sid = {COOKIE}", app),
            (f'Cookie: sid="{COOKIE}', app),
            (f"Cookie: sid={'s' * 9000}", app),
            ("Cookie: sid=", app),
            ("Cookie: sid", app),
        ]
        for lines in not_counting:
            assert await name_of(stage, *lines) == 4401, lines
        for origin in ("https://app.example.org@evil.net", "https://evil.net\\@app.example.org", "", "https://", "app"):
            status, _, _ = await told(stage, head(good, f"Origin: {origin}"))
            assert status.startswith("HTTP/1.1 403 "), origin
        assert (await told(stage, head(good, app, app)))[0].startswith("HTTP/1.1 403 ")
        assert await name_of(stage, good, "Origin: https://äpp.example.org") == 4401


@each_socket
async def test_hosts_that_are_not_ours(engine: str) -> None:
    server = {"allowed_hosts": ["example.org", "*.example.net:8443"]}
    async with serving(engine, {}, server=server) as stage:
        for host, status in (
            ("example.org", "101"),
            ("EXAMPLE.org:9", "101"),
            ("a.example.net:8443", "101"),
            ("example.org.", "421"),
            ("example.org:0", "421"),
            ("example.org:99999", "421"),
            ("example.org:80:80", "421"),
            ("example.org@evil.net", "421"),
            ("evil.net/example.org", "421"),
            ("evil.net, example.org", "421"),
            ("example.net:8443", "421"),
            ("aexample.net:8443", "421"),
            ("a.example.net", "421"),
            ("[::1]", "421"),
            ("", "400"),
        ):
            got, _, _ = await told(stage, head(host=host), BYE)
            assert status in got, host
        assert "400" in (await told(stage, head("Host: example.org", host="example.org")))[0]
        absolute = head(host="example.org", target="http://evil.net/ws")
        assert "400" in (await told(stage, absolute))[0]


@each_socket
async def test_addresses_that_a_client_makes_up(engine: str) -> None:
    """What our proxy did not write is not believed, and what it cannot have written counts as the proxy's own."""
    limits = {"trusted_proxies": ["127.0.0.0/8", "2001:db8:ff::/48"], "connections_per_address": 0}
    async with serving(engine, {}, limits=limits) as stage:
        for lines, expected in (
            (("203.0.113.9",), "203.0.113.9"),
            (("1.1.1.1, 203.0.113.9",), "203.0.113.9"),
            (("1.1.1.1", "203.0.113.9"), "203.0.113.9"),
            (("203.0.113.9, 127.0.0.5",), "203.0.113.9"),
            (("203.0.113.9, 2001:db8:ff::1",), "203.0.113.9"),
            (("::ffff:203.0.113.9",), "203.0.113.9"),
            (("::ffff:127.0.0.1",), "127.0.0.1"),
            (("fe80::1%eth0",), "fe80::1"),
            (("203.0.113.9, ",), "127.0.0.1"),
            (("203.0.113.9, unknown",), "127.0.0.1"),
            (("203.0.113.9:80",), "203.0.113.9"),
            (("[2001:db8::1]:80",), "2001:db8::1"),
            (("0x7f.1",), "127.0.0.1"),
            (("203.0.113.009",), "127.0.0.1"),
            ((", ".join(["127.0.0.2"] * 500),), "127.0.0.2"),
            (("2001:db8::1, " * 300 + "127.0.0.3",), "2001:db8::1"),
        ):
            async with Client.socket(port_of(stage)) as client:
                await client.write(head(*(f"X-Forwarded-For: {line}" for line in lines)))
                await client.upgraded()
                [connection] = stage.sockets.websocket.get_all_connections()
                assert connection.client.remote_address == expected, lines
                await client.close()
            await until(lambda: not stage.sockets.websocket.get_connection_count())
    async with serving(engine, {}) as stage, Client.socket(port_of(stage)) as client:
        await client.write(head("X-Forwarded-For: 203.0.113.9", "X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9"))
        await client.upgraded()
        [connection] = stage.sockets.websocket.get_all_connections()
        assert connection.client.remote_address == "127.0.0.1"


# -- the first message and renewals --------------------------------------------------------------------------


@each_socket
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(authenticate(TOKEN).replace(b"\x81", b"\x82", 1), id="binary"),
        pytest.param(text({"event": "websocket://authenticate", "data": {"token": TOKEN}}), id="event"),
        pytest.param(text({"success": True, "data": {"token": TOKEN}}), id="response"),
        pytest.param(text({"path": "websocket://{x}", "body": {"x": "authenticate", "token": TOKEN}}), id="filled"),
        pytest.param(text({"path": "websocket://%61uthenticate", "body": {"token": TOKEN}}), id="escaped"),
        pytest.param(text({"path": "Websocket://authenticate", "body": {"token": TOKEN}}), id="case"),
        pytest.param(text({"path": "websocket://authenticate", "body": TOKEN}), id="bare"),
        pytest.param(text({"path": "websocket://authenticate", "body": {"token": [TOKEN]}}), id="list"),
        pytest.param(
            text({"path": "websocket://authenticate", "body": {"token": TOKEN, "x": "y" * 20_000}}), id="long"
        ),
        pytest.param(text(b'{"path":"websocket://authenticate","body":' + b"[" * 3000), id="deep"),
        pytest.param(text(b""), id="empty"),
        pytest.param(mask_frame(Opcode.PONG, b"", KEY, True, 0) + who(), id="another-request"),
    ],
)
async def test_what_is_no_first_message_lets_nobody_in(engine: str, first: bytes) -> None:
    async with serving(engine, {"authenticator": tokens()}) as stage:
        assert await told(stage, head(), first, authenticate(TOKEN), who()) == ("101", [], 4401)


@every_engine
async def test_a_cookie_of_something_else_does_not_take_the_first_message_away(engine: str) -> None:
    """A browser sends every cookie of the site along."""
    async with serving(engine, {"authenticator": tokens()}) as stage, AsyncExitStack() as all_:
        headers = {"Cookie": "theme=dark", "Origin": same_origin(stage)}
        client = await all_.enter_async_context(stage.client(headers=headers))
        await client.request("websocket://authenticate", {"token": TOKEN})
        assert (await client.request("app://who"))["id"] == "ada"
    async with serving(engine, {"authenticator": FirstOf(sessions(), tokens())}) as stage:
        headers = {"Cookie": f"theme=dark; sid={COOKIE}", "Origin": same_origin(stage)}
        async with stage.client(headers=headers) as client:
            assert (await client.request("app://who"))["id"] == "ada"
            with pytest.raises(HandlerError) as refused:
                await client.request("websocket://authenticate", {"token": OTHER})
            assert refused.value.code == "FORBIDDEN"


@each_socket
async def test_two_at_once_and_then_a_close(engine: str) -> None:
    """The second authenticate of a packet is a renewal, and an authenticator that is under way hears of the end."""
    entered, gate, ended = asyncio.Event(), asyncio.Event(), []

    async def slow(token: str) -> Identity | None:
        entered.set()
        try:
            await gate.wait()
        finally:
            ended.append(token)
        return lookup(token)

    async with serving(engine, {"authenticator": TokenAuthenticator(slow)}) as stage:
        async with Client.socket(port_of(stage)) as client:
            await client.write(head() + authenticate(TOKEN, 1) + authenticate(OTHER, 2) + who(3))
            await client.upgraded()
            await within(entered.wait())
            gate.set()
            answers = [await client.receive() for _ in range(3)]
            assert [each["correlationId"] for each in answers] == [1, 2, 3]
            assert answers[0]["data"]["subject"] == "ada" and answers[1]["error"]["code"] == "FORBIDDEN"
            assert answers[2]["data"]["id"] == "ada"
        gate.clear()
        entered.clear()
        ended.clear()
        async with Client.socket(port_of(stage)) as client:
            await client.write(head() + authenticate(TOKEN) + who() + BYE)
            await client.upgraded()
            await until(lambda: ended == [TOKEN] or not entered.is_set())
            assert (await client.closed())[0] == 1000
        await until(lambda: ended == [TOKEN] or not entered.is_set())
        assert stage.sockets.websocket.get_connection_count() == 0


@each_socket
async def test_a_flood_while_nobody_is_known_is_bounded(engine: str) -> None:
    gate = asyncio.Event()

    async def slow(token: str) -> Identity | None:
        await gate.wait()
        return lookup(token)

    connection = {"backlog_requests": 8, "close_timeout": 0.3}
    async with serving(engine, {"authenticator": TokenAuthenticator(slow)}, connection=connection) as stage:
        async with Client.socket(port_of(stage)) as client:
            await client.write(head() + authenticate(TOKEN))
            await client.upgraded()
            flood = asyncio.create_task(client.write(who() * 40_000))
            [pending] = stage.sockets.websocket._core.registry.with_transport()
            await until(lambda: pending.paused)
            held = len(pending._held or ())
            assert held <= 16 * 1024 // len(who()) + 8
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(pending._held or ()) == held
            flood.cancel()
            await asyncio.wait({flood})
            gate.set()
            assert (await client.receive())["data"]["subject"] == "ada"
            client.reset()
        await until(lambda: not stage.sockets.websocket._core.registry.with_transport())


LOOK_ALIKES = ["Ada", "ADA", "ada ", " ada", "ad\u0430", "\uff41da", "ada\u200b", "a\u0301da", "ada\0", "\u0430da"]


@every_engine
async def test_a_renewal_for_a_look_alike_is_for_another_subject(engine: str) -> None:
    def named(token: str) -> Identity | None:
        return Identity(token.removeprefix("for:")) if token.startswith("for:") else None

    async with serving(engine, {"authenticator": TokenAuthenticator(named)}) as stage, stage.client() as client:
        await client.request("websocket://authenticate", {"token": "for:ada"})
        for each in LOOK_ALIKES:
            with pytest.raises(HandlerError) as refused:
                await client.request("websocket://authenticate", {"token": f"for:{each}"})
            assert refused.value.code == "FORBIDDEN", each
        assert (await client.request("app://who"))["id"] == "ada"


@every_engine
async def test_who_authenticates_later_counts_for_the_principal_as_well(engine: str) -> None:
    authentication = {"authenticator": tokens(), "mode": "optional"}
    async with (
        serving(engine, authentication, limits={"connections_per_principal": 2}) as stage,
        AsyncExitStack() as all_,
    ):
        clients = [await all_.enter_async_context(stage.client()) for _ in range(4)]
        for client in clients[:2]:
            await client.request("websocket://authenticate", {"token": TOKEN})
        for client in clients[2:]:
            with pytest.raises(ConnectionError):
                await client.request("websocket://authenticate", {"token": TOKEN})
            assert await client.wait_closed() == 4429
        await clients[0].request("websocket://authenticate", {"token": NEWER})  # of the same subject
        assert limits_of(stage)["connectionsPerPrincipal"] == 2


@every_engine
async def test_a_race_for_the_last_place_of_a_principal(engine: str) -> None:
    gate = asyncio.Event()

    async def slow(token: str) -> Identity | None:
        await gate.wait()
        return lookup(token)

    async with serving(
        engine, {"authenticator": TokenAuthenticator(slow)}, limits={"connections_per_principal": 3}
    ) as stage:
        async with AsyncExitStack() as all_:
            clients = [await all_.enter_async_context(stage.client(token=TOKEN)) for _ in range(8)]
            gate.set()
            facet = stage.sockets.websocket
            await until(lambda: limits_of(stage)["connectionsPerPrincipal"] == 5)
            assert facet.get_connection_count() == 3
            del clients
        await until(lambda: not facet.get_connection_count())
        async with stage.client(token=TOKEN) as client:
            assert (await client.request("app://who"))["id"] == "ada"


# -- what clients may call -----------------------------------------------------------------------------------


@every_engine
async def test_a_policy_that_goes_by_the_path_is_not_told_another_spelling(engine: str) -> None:
    """A remembered decision is for one resource, and there is one spelling for each."""
    asked: list[str] = []

    def policy(message: Message, principal: object, route: object) -> Decision:
        asked.append(message.path)
        return Decision(message.path != "app://doc/secret", cache=True)

    def setup(stage: Stage) -> None:
        @stage.app.route("app://doc/{id}", expose=True)
        async def doc(message: Message, params: Any, options: Any) -> str:
            return str(params["id"])

    async with serving(engine, {"authenticator": tokens()}, setup, routing={"policy": policy}) as stage:
        async with stage.client(token=TOKEN) as client:
            for path, body in (
                ("app://doc/secret", None),
                ("app://doc/%73ecret", None),
                ("app://doc/%73%65%63%72%65%74", None),
                ("app://doc/{x}", {"x": "secret"}),
            ):
                with pytest.raises(HandlerError) as refused:
                    await client.request(path, body)
                assert refused.value.code == "FORBIDDEN", path
            assert await client.request("app://doc/{x}", {"x": "%73ecret"}) == "%73ecret"
            assert await client.request("app://doc/%61%20b") == "a b"
            assert await client.request("app://doc/a%20b") == "a b"
        assert asked == ["app://doc/secret", "app://doc/%2573ecret", "app://doc/a b"]


@every_engine
@pytest.mark.parametrize("default", [False, True], ids=["no-default", "default"])
async def test_no_spelling_reaches_what_is_private(engine: str, default: bool) -> None:
    called: list[str] = []

    def setup(stage: Stage) -> None:
        @stage.app.route("app://private")
        async def private() -> None:
            called.append("private")

        @stage.app.route("app://files/{name}/*")
        async def files() -> None:
            called.append("files")

        if default:

            @stage.sockets.route("websocket://message")
            async def message(message: Message) -> str:
                return "default"

    def transform(value: Any) -> Any:
        return {**value, "metadata": {"caller": "system", "principal": {"id": "root", "permissions": ["write"]}}}

    routing = {"expose": ["app://public*", "app://files/public/*", "websocket://*"], "transform_incoming": transform}
    async with serving(engine, {"authenticator": tokens()}, setup, routing=routing) as stage:
        async with stage.client(token=TOKEN) as client:
            for path, body in (
                ("app://private", None),
                ("App://private", None),
                ("app://%70rivate", None),
                ("app://{x}", {"x": "private"}),
                ("app://public/../private", None),
                ("app://files/public/../x", None),
                ("app://files/{x}/y", {"x": "public/../z"}),
                ("app://files/%70ublic/y", None),
                ("app://files/%2e%2e/y", None),
                ("websocket://broadcast", {"a": 1}),
                ("websocket://send/{id}", {"id": "x"}),
                ("websocket://errors", None),
                ("websocket://connect", {"token": TOKEN}),
                ("websocket://{x}", {"x": "errors"}),
                ("app://write", None),
            ):
                try:
                    assert await client.request(path, body) == "default", path
                except HandlerError as refused:
                    assert refused.code in ("NOT_FOUND", "INVALID_PATH", "FORBIDDEN"), path
        assert not called


@each_socket
async def test_untrusted_metadata_makes_nobody(engine: str) -> None:
    claims = {"principal": {"id": "ada"}, "caller": "system", "userId": "ada", "permissions": ["write"]}
    envelope = {"body": claims, "metadata": {**claims, "connectionId": "x"}, "principal": {"id": "ada"}}
    async with serving(engine, {"authenticator": tokens(), "mode": "optional"}) as stage, AsyncExitStack() as all_:
        client = await all_.enter_async_context(Client.socket(port_of(stage)))
        await client.write(head(*(f"{name}: ada" for name in ("X-User-Id", "X-Principal", "Remote-User"))))
        await client.upgraded()
        for path in ("app://known", "app://write"):
            assert (await client.request(path, **envelope))["error"]["code"] == "UNAUTHORIZED"


# -- how much and how fast -----------------------------------------------------------------------------------


HASTY = {"close_timeout": 0.1}  # whoever is thrown out for abuse is not read any more, so its leaving is not seen

NOISE = {
    "no-reply": text({"path": "app://who", "metadata": {"noReply": True}}),
    "event": text({"event": "x", "data": 1}),
    "response": text({"success": True, "correlationId": "s-1"}),
    "invalid-json": text(b"{"),
    "empty": text(b""),
    "no-object": text(b"[]"),
    "binary": mask_frame(Opcode.BINARY, b"x", KEY, True, 0),
    "not-found": text({"path": "app://nothing"}),
    "fragments": mask_frame(Opcode.TEXT, b'{"path":', KEY, False, 0) + mask_frame(0, b'"app://who"}', KEY, True, 0),
    "large": text({"path": "app://who", "body": "x" * 20_000}),
    "large-invalid": text(b"[" * 20_000),
}


@each_socket
@pytest.mark.parametrize("noise", NOISE)
async def test_every_kind_of_message_counts_for_the_rate_and_for_abuse(engine: str, noise: str) -> None:
    rate = {"max_messages": 3, "window": EVER}
    limits = {"rate_per_connection": rate, "abuse": rate}
    async with serving(engine, {}, limits=limits, connection=HASTY) as stage:
        _, _, code = await told(stage, head(), NOISE[noise] * 7)
        assert code == 4429
        assert (limits_of(stage)["ratePerConnection"], limits_of(stage)["abuse"]) == (4, 1)


@each_socket
async def test_responses_that_nobody_awaits_do_not_slip_past_the_rate_by_a_transform(engine: str) -> None:
    """What looks like a response goes past the limits only when somebody waits for just that one."""
    seen: list[Any] = []

    def transform(value: Any) -> Any:
        seen.append(value)
        return {"path": "app://who", "correlationId": "x"} if "op" in value else value

    rate = {"max_messages": 2, "window": EVER}
    sections: dict[str, Any] = {"limits": {"rate_per_connection": rate, "abuse": rate}, "connection": HASTY}
    async with serving(engine, {}, routing={"transform_incoming": transform}, **sections) as stage:
        async with Client.socket(port_of(stage)) as client:
            await client.write(head())
            await client.upgraded()
            [connection] = stage.sockets.websocket.get_all_connections()
            asked = asyncio.create_task(connection.request("client://sure"))
            key = (await client.receive())["correlationId"]
            await client.write(text({"success": True, "op": 1}) * 2)
            await client.receive(), await client.receive()
            await client.write(text({"success": True, "data": 7, "correlationId": key}))
            assert await within(asked) == 7
            await client.write(text({"success": True, "op": 1, "correlationId": key}) * 4)
            assert (await client.closed())[0] == 4429
        assert len(seen) == 3


@pytest.mark.parametrize("by", ["address", "rate_per_address"])
async def test_who_has_a_whole_network_of_ipv6_is_one_client(by: str) -> None:
    def setup(stage: Stage) -> None:
        limiter = RateLimiter(2, EVER, by="address") if by == "address" else None

        @stage.app.route("app://dear", expose=True, limit=limiter)
        async def dear() -> str:
            return "dear"

    limits: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"]}
    if by == "rate_per_address":
        limits["rate_per_address"] = {"max_messages": 2, "window": EVER}
    async with serving("picows", {}, setup, limits=limits) as stage:
        codes = []
        for host in range(4):
            headers = {"X-Forwarded-For": f"2001:db8:1:2:{host}::{host + 7:x}"}
            async with stage.client(headers=headers) as client:
                try:
                    codes.append(await client.request("app://dear"))
                except HandlerError as refused:
                    codes.append(refused.code)
        assert codes == ["dear", "dear", "RATE_LIMITED", "RATE_LIMITED"]
        async with stage.client(headers={"X-Forwarded-For": "2001:db8:1:3::7"}) as client:
            assert await client.request("app://dear") == "dear"


@pytest.mark.parametrize("engine", ["picows"])
async def test_nothing_is_kept_of_who_came_and_went(engine: str) -> None:
    """Ever new addresses, principals and connections leave every table as it was."""
    rate = {"max_messages": 5, "window": 0.001}
    limits = {"trusted_proxies": ["127.0.0.1"], "rate_per_connection": {"max_messages": 5, "window": EVER}}
    limits |= {"rate_per_principal": rate, "rate_per_address": rate}

    def named(token: str) -> Identity:
        return Identity(token, expires_at=time() + 3600)

    authentication = {"authenticator": TokenAuthenticator(named)}
    async with serving(engine, authentication, limits=limits) as stage:
        core = stage.sockets.websocket._core
        for round_ in range(4):
            async with AsyncExitStack() as all_:
                for n in range(20):
                    client = await all_.enter_async_context(Client.socket(port_of(stage)))
                    address = f"X-Forwarded-For: 2001:db8:{round_}:{n}::1"
                    await client.write(head(address, f"Authorization: Bearer {round_}-{n}") + who() * (n % 7))
                    await client.upgraded()
                    if n % 3 == 0:
                        client.reset()
            await until(lambda: not core.registry.with_transport())
        registry, rates, lifecycle = core.registry, core.rates, core.lifecycle
        assert (len(registry.by_address), len(registry.by_principal), len(core.accept_limiter)) == (0, 0, 0)
        assert len(core.authentication.expiry) == 0
        by_connection, by_principal, by_address = (limiter for _, limiter, _ in rates._rules)
        assert len(by_connection) == 0 and len(by_principal) < 20 and len(by_address) < 20
        assert not (lifecycle._connecting or lifecycle._connected)
