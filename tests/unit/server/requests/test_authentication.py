"""Who asks: by a header or a cookie, judged anew for each request, and failing closed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mycelia import Message, NoCredential, Unavailable, Untimely
from mycelia.auth import Credential, FirstOf, Identity, SessionAuthenticator, TokenAuthenticator
from mycelia.server import HttpRequest
from tests.unit.server.support import Stage, serving

ADA = Identity("ada", {"user:read"})


def find(value: str) -> Identity | None:
    match value:
        case "good":
            return ADA
        case "old":
            return Identity("ada", expires_at=1.0)
        case "untimely":
            raise Untimely("secret-text")
        case "away":
            raise Unavailable("secret-text")
        case "broken":
            raise ValueError("secret-text broken")
        case _:
            return None


BOTH = FirstOf(TokenAuthenticator(find), SessionAuthenticator("sid", find))


def setup(stage: Stage) -> None:
    def who(message: Message, connection: HttpRequest) -> Any:
        principal = message.metadata.principal
        assert connection.metadata == ({} if principal is None else {"userId": principal.id})
        return None if principal is None else principal.id

    stage.route("GET /who", who)
    stage.route("POST /who", who, target="app://change")
    stage.route("GET /read", who, requires={"user:read"})
    stage.route("GET /write", who, requires={"user:write"})
    stage.route("GET /known", who, authenticated=True)
    stage.route("GET /exposed", who, expose="authenticated")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("mode", "spec", "headers", "status", "data"),
    [
        ("required", "GET /who", {}, 401, None),
        ("required", "GET /who", bearer("good"), 200, "ada"),
        ("required", "GET /who", bearer("bad"), 401, None),
        ("required", "GET /who", bearer("old"), 401, None),
        ("required", "GET /who", bearer("untimely"), 401, None),
        ("required", "GET /who", bearer("away"), 503, None),
        ("required", "GET /who", bearer("broken"), 500, None),
        ("required", "GET /who", {"authorization": "Basic good"}, 401, None),
        ("required", "GET /who", bearer("x" * 8193), 401, None),
        ("required", "GET /who?token=good", {}, 401, None),
        ("required", "GET /who", {"sec_websocket_protocol": "mycelia.bearer.Z29vZA"}, 401, None),
        ("required", "GET /who", {"cookie": "sid=good"}, 200, "ada"),
        ("required", "GET /who", {"cookie": "sid=good", "sec_fetch_site": "cross-site"}, 401, None),
        ("required", "GET /who", {"cookie": "sid=good", "origin": "https://evil.example"}, 401, None),
        ("required", "POST /who", {"cookie": "sid=good"}, 401, None),
        ("required", "POST /who", {"cookie": "sid=good", "origin": "http://here.example"}, 200, "ada"),
        ("required", "POST /who", {"cookie": "sid=good", "origin": "https://app.example"}, 200, "ada"),
        ("required", "POST /who", {"cookie": "sid=good", "origin": "https://evil.example"}, 403, None),
        ("required", "POST /who", bearer("good"), 200, "ada"),
        ("required", "GET /read", bearer("good"), 200, "ada"),
        ("required", "GET /write", bearer("good"), 403, None),
        ("optional", "GET /who", {}, 200, None),
        ("optional", "GET /who", bearer("good"), 200, "ada"),
        ("optional", "GET /who", bearer("bad"), 401, None),
        ("optional", "GET /who", {"cookie": "other=1"}, 200, None),
        ("optional", "GET /read", {}, 401, None),
        ("optional", "GET /known", {}, 401, None),
        ("optional", "GET /exposed", {}, 401, None),
        ("optional", "GET /known", bearer("good"), 200, "ada"),
        ("optional", "GET /exposed", bearer("good"), 200, "ada"),
        ("off", "GET /who", bearer("good"), 200, None),
        ("off", "GET /read", bearer("good"), 401, None),
        ("off", "GET /known", bearer("good"), 401, None),
    ],
)
async def test_who_is_let_in(
    mode: str, spec: str, headers: dict[str, str], status: int, data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"authenticator": None if mode == "off" else BOTH, "mode": mode}
    caplog.set_level(logging.DEBUG)
    async with serving(setup, authentication=config, server={"allowed_origins": ["https://app.example"]}) as stage:
        answer = await stage.ask(spec, **headers)
        probe = await stage.ask("GET /live")
    assert answer.status == status and probe.status == 200
    if status == 200:
        assert answer.data == data
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert b"secret-text" not in answer.body
    assert not any(secret in caplog.text for secret in ("good", "broken\n", "x" * 100))


async def test_nobody_guesses_for_ever() -> None:
    config = {"authenticator": TokenAuthenticator(find)}
    async with serving(setup, authentication=config, limits={"failed_logins": {"max_messages": 2, "window": 60}}) as at:
        for _ in range(2):
            assert (await at.ask("GET /who", **bearer("bad"))).status == 401
        for token in ("bad", "good"):
            limited = await at.ask("GET /who", **bearer(token))
            assert (limited.status, limited.code) == (429, "RATE_LIMITED")
            assert int(limited.headers["retry-after"]) > 0
        assert (await at.ask("GET /who")).status == 401  # who shows nothing guesses nothing


async def test_an_authenticator_has_only_so_much_time_and_is_closed() -> None:
    class Slow:
        closed = False

        async def authenticate(self, credential: Credential) -> Identity:
            await asyncio.Event().wait()
            raise NoCredential("never")

        async def close(self) -> None:
            self.closed = True

    slow = Slow()
    async with serving(setup, authentication={"authenticator": slow, "deadline": 0.01}) as stage:
        answer = await stage.ask("GET /who", **bearer("x"))
        assert (answer.status, answer.code) == (504, "TIMEOUT")
    assert slow.closed


@pytest.mark.parametrize("error", [asyncio.CancelledError, TimeoutError])  # of a task, or a database, that it awaits
async def test_what_looks_like_our_own_but_is_the_authenticators_is_a_failure_like_others(
    error: type[BaseException],
) -> None:
    class Wrong:
        async def authenticate(self, credential: Credential) -> Any:
            raise error

    async with serving(setup, authentication={"authenticator": Wrong()}) as stage:
        answer = await stage.ask("GET /who", **bearer("x"))
        assert (answer.status, answer.code) == (500, "HANDLER_ERROR")
        assert answer.json["error"]["details"]["errorId"] == stage.facet.errors()["errors"][0]["id"]


async def test_a_request_that_waits_for_the_authenticator_ends_with_a_stop() -> None:
    began = asyncio.Event()

    class Slow:
        async def authenticate(self, credential: Credential) -> Any:
            began.set()
            await asyncio.Event().wait()

    limits = {"close_timeout": 0.01}
    async with serving(setup, authentication={"authenticator": Slow()}, limits=limits) as stage:
        call = stage.call("GET /who", **bearer("x"))
        await asyncio.wait_for(began.wait(), 5)
        await stage.facet.stop()
        assert (await call.answer()).code == "CANCELLED"


async def test_what_is_no_identity_lets_nobody_in() -> None:
    class Wrong:
        async def authenticate(self, credential: Credential) -> Any:
            return {"subject": "root"}

    async with serving(setup, authentication={"authenticator": Wrong()}) as stage:
        answer = await stage.ask("GET /who", **bearer("x"))
        assert (answer.status, answer.code) == (500, "HANDLER_ERROR")
        assert answer.json["error"]["details"]["errorId"] == stage.facet.errors()["errors"][0]["id"]
