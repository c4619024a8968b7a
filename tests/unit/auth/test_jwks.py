"""Key sets by URL: cached, rotated, fetched once for all, never too often; and the HTTP below."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from mycelia.auth.fetch import check_url, fetch
from mycelia.auth.jwks import Jwks, JwksLimits
from mycelia.auth.keys import read_key_set
from mycelia.errors import ConfigError, Unauthorized, Unavailable
from tests.unit.auth.keyring import Issuer, jwk, serve
from tests.unit.realtime.support import TimeLoop, in_fake_time

URL = "https://id.example/keys"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys(issuer: Issuer, clock: Callable[[], float], **limits: float) -> Jwks:
    return Jwks(issuer.url, JwksLimits(**limits), clock=clock)  # type: ignore[arg-type]  # max_bytes is not given


async def test_keys_are_kept_and_rotation_is_noticed() -> None:
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock)
        for _ in range(3):
            assert (await found.find("one", "RS256")).kid == "one"
        assert (await found.find(None, "RS256")).kid == "one"
        assert issuer.asked == 1
        issuer.keys = [jwk("rsa-2", "two")]
        with pytest.raises(Unauthorized):
            await found.find("two", "RS256")  # too soon after the last fetch
        assert issuer.asked == 1
        clock.now += 10
        assert (await found.find("two", "RS256")).kid == "two"
        assert issuer.asked == 2
        with pytest.raises(Unauthorized):
            await found.find("one", "RS256")  # the issuer has withdrawn it
        clock.now += 300
        await found.find("two", "RS256")
        assert issuer.asked == 3


async def test_unknown_ids_cannot_make_it_fetch_often() -> None:
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock)
        for number in range(50):
            clock.now += 0.1
            with pytest.raises(Unauthorized):
                await found.find(f"junk-{number}", "RS256")
        assert issuer.asked == 1
        await found.find("one", "RS256")


async def test_one_fetch_for_all_and_it_outlives_who_asked_first() -> None:
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        issuer.gate = asyncio.Event()
        found = keys(issuer, Clock())
        callers = [asyncio.create_task(found.find("one", "RS256")) for _ in range(20)]
        async with asyncio.timeout(8):
            await issuer.called.wait()
        callers[0].cancel()
        issuer.gate.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [getattr(each, "kid", each) for each in results[1:]] == ["one"] * 19
        assert issuer.asked == 1


async def test_old_keys_are_used_while_the_issuer_fails_and_not_for_ever() -> None:
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock)
        await found.find("one", "RS256")
        issuer.raw = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
        clock.now += 301
        assert (await found.find("one", "RS256")).kid == "one"
        assert issuer.asked == 2
        assert (await found.find("one", "RS256")).kid == "one"
        assert issuer.asked == 2  # it waits before it asks again
        clock.now += 3600
        with pytest.raises(Unavailable):
            await found.find("one", "RS256")
        with pytest.raises(Unavailable, match="too early"):
            await found.find("one", "RS256")
        assert issuer.asked == 3
        issuer.raw = None
        clock.now += 10
        assert (await found.find("one", "RS256")).kid == "one"


async def test_an_issuer_that_hangs_holds_nobody_up_while_the_old_keys_are_good() -> None:
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock)
        await found.find("one", "RS256")
        issuer.called.clear()
        issuer.gate, issuer.keys = asyncio.Event(), [jwk("rsa-2", "two")]
        clock.now += 300
        for _ in range(3):
            callers = [found.find("one", "RS256") for _ in range(20)]
            assert {each.kid for each in await asyncio.gather(*callers)} == {"one"}
        async with asyncio.timeout(8):
            await issuer.called.wait()
        clock.now += 3599.9  # nobody has answered, and the keys are still good enough
        assert (await found.find("one", "RS256")).kid == "one"
        assert issuer.asked == 2, "one fetch for all of them"
        issuer.gate.set()
        assert (await found.find("two", "RS256")).kid == "two"  # whose key is unknown waits for it
        with pytest.raises(Unauthorized):
            await found.find("one", "RS256")
        await found.close()


async def test_a_key_that_old_keys_lack_may_be_a_new_one() -> None:
    """Who has a token of it is told to come again: it is no bad login, and must not be counted as one."""
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock)
        with pytest.raises(Unauthorized):
            await found.find("two", "RS256")
        issuer.raw = b"down"
        clock.now += 300
        for _ in range(2):
            with pytest.raises(Unavailable, match="may fit"):
                await found.find("two", "RS256")
        assert (await found.find("one", "RS256")).kid == "one"
        await found.close()


async def test_keys_that_are_too_old_are_waited_for_and_refuse_when_nothing_comes() -> None:
    clock = Clock()
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        found = keys(issuer, clock, timeout=0.05)
        await found.find("one", "RS256")
        issuer.gate = asyncio.Event()
        clock.now += 3900
        callers = [asyncio.create_task(found.find("one", "RS256")) for _ in range(5)]
        for caller in callers:
            with pytest.raises(Unavailable):
                await caller
        assert issuer.asked == 2
        issuer.gate.set()
        clock.now += 10
        assert (await found.find("one", "RS256")).kid == "one"


def test_a_fetch_is_waited_for_with_patience_once_and_for_all() -> None:
    """However many come, and whenever: nobody waits beyond one moment, which is soon after the fetch began."""

    async def lives(loop: TimeLoop) -> None:
        asked: list[float] = []

        async def answers_once(url: str, timeout: float, max_bytes: int) -> bytes:
            asked.append(loop.time())
            if len(asked) > 1:
                await asyncio.Event().wait()
            return json.dumps({"keys": [jwk("rsa", "one")]}).encode()

        found = Jwks(URL, fetch=answers_once, clock=loop.time)
        await found.find("one", "RS256")
        began = loop.time() + 300
        for came, waited_until in [(0.0, 0.5), (0.5, 0.5), (0.7, 0.7), (5.9, 5.9), (9.9, 9.9), (60.0, 60.5)]:
            await loop.reach(began + came)
            assert (await found.find("one", "RS256")).kid == "one"
            assert loop.time() - began == pytest.approx(waited_until, abs=1e-6)
        assert [when - began for when in asked[1:]] == pytest.approx([0.0, 60.0])
        await loop.reach(began + 3600)
        with pytest.raises(Unavailable):
            await found.find("one", "RS256")
        assert loop.time() - began == pytest.approx(3606.0), "also a fetch that heeds no timeout has one"

    in_fake_time(lives)


async def test_who_is_first_after_a_rotation_is_judged_by_the_new_keys_of_an_issuer_that_answers() -> None:
    clock, listed = Clock(), [jwk("rsa", "one")]

    async def answers(url: str, timeout: float, max_bytes: int) -> bytes:
        return json.dumps({"keys": listed}).encode()

    found = Jwks(URL, fetch=answers, clock=clock)
    await found.find("one", "RS256")
    listed[:] = [jwk("rsa-2", "two")]
    clock.now += 300
    with pytest.raises(Unauthorized):
        await found.find("one", "RS256")


async def test_it_ends_with_its_owner_and_begins_again() -> None:
    async with serve(Issuer(jwk("rsa", "one"))) as issuer:
        issuer.gate = asyncio.Event()
        found = keys(issuer, Clock())
        caller = asyncio.create_task(found.find("one", "RS256"))
        async with asyncio.timeout(8):
            await issuer.called.wait()
        await found.close()
        with pytest.raises(Unavailable):
            await caller
        issuer.gate.set()
        assert (await found.find("one", "RS256")).kid == "one"
        await found.close()


def test_which_keys_of_a_set_are_used() -> None:
    listed = [
        jwk("rsa", "rsa"),
        jwk("p256", "p256", use="sig", alg="ES256", key_ops=["verify"]),
        jwk("ed", "ed"),
        jwk("rsa-2", "encrypts", use="enc"),
        jwk("rsa-2", "signs", key_ops=["sign"]),
        jwk("weak", "weak"),
        jwk("p256", "contradicts", alg="ES384"),
        jwk("rsa", 7),  # type: ignore[arg-type]  # as a careless issuer may write
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "EC", "kid": "half", "crv": "P-256"},
        {"kty": "new"},
        {},
        "text",
    ]
    found = read_key_set(json.dumps({"keys": listed}).encode())
    assert [each.kid for each in found] == ["rsa", "p256", "ed"]
    assert found[1].algorithms == {"ES256"}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"keys": 7}', b"\xff", b"[" * 100_000, b'{"keys": null}'])
def test_what_is_no_key_set(raw: bytes) -> None:
    with pytest.raises(Unavailable):
        read_key_set(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
    ids=lambda raw: str(raw[:70]),
)
async def test_answers_that_are_not_read(raw: bytes) -> None:
    issuer = Issuer()
    issuer.raw = raw
    async with serve(issuer):
        with pytest.raises(Unavailable):
            await fetch(issuer.url, 8, 1000)


@pytest.mark.parametrize("kind", ["length", "chunked", "until the end"])
async def test_answers_that_are_read(kind: str) -> None:
    issuer = Issuer(jwk("ed", "one"))
    issuer.chunked = kind == "chunked"
    if kind == "until the end":
        issuer.raw = (
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps({"keys": issuer.keys}).encode()
        )
    async with serve(issuer):
        assert json.loads(await fetch(issuer.url, 8, 1000)) == {"keys": issuer.keys}


async def test_the_deadline_of_a_fetch() -> None:
    issuer = Issuer()
    async with serve(issuer):
        issuer.gate = asyncio.Event()
        with pytest.raises(Unavailable, match="did not answer within"):
            await fetch(issuer.url, 0.05, 1000)


async def test_nobody_listens() -> None:
    async with serve(Issuer()) as issuer:
        pass
    with pytest.raises(Unavailable):
        await fetch(issuer.url, 8, 1000)


@pytest.mark.parametrize(
    "url",
    ["", "keys", "ftp://id.example/", "http://id.example/keys", "https://", "https://a b/", "https://a/\r\nX: y",
     "https://user:pass@id.example/", "https://[::1/", "https://id.example:port/", "http://10.0.0.1/"],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        check_url("jwks.url", url)


@pytest.mark.parametrize("url", [URL, "http://localhost:1/k", "http://127.0.0.1/k", "http://[::1]:9/k"])
def test_urls_that_are_taken(url: str) -> None:
    check_url("jwks.url", url)


@pytest.mark.parametrize("limits", [{"max_age": 0}, {"stale": -1}, {"timeout": float("nan")}, {"min_interval": 0}])
def test_limits_are_checked(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        JwksLimits(**limits)  # type: ignore[arg-type]  # max_bytes is not given
