from __future__ import annotations

import pytest

from mycelia.net.client import ClientInfo
from tests.unit.realtime.support import handshake

SECRETS = (
    ("Cookie", "session=secret"),
    ("Authorization", "Bearer secret"),
    ("Proxy-Authorization", "Basic secret"),
    ("Sec-WebSocket-Protocol", "mycelia.bearer.secret"),
)


def test_what_is_kept() -> None:
    request = handshake(("User-Agent", "x/1"), ("Origin", "https://a"), ("X-Other", "y"), target="/ws?token=secret")
    client = ClientInfo.of(request, "picows", "chat", ("user-agent",))
    assert client == ClientInfo("picows", "192.0.2.1", "/ws", "chat", "https://a", (("user-agent", "x/1"),))
    assert client.describe() == {
        "engine": "picows",
        "remote_address": "192.0.2.1",
        "path": "/ws",
        "subprotocol": "chat",
        "origin": "https://a",
        "headers": {"user-agent": "x/1"},
        "trace_id": None,
        "secure": False,
    }


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", "abc-1.2_3"), ("", None), ("a b", None), ("x" * 129, None), ("ä", None)]
)
def test_the_trace_of_the_handshake_is_kept_when_it_is_one(given: str, kept: str | None) -> None:
    assert ClientInfo.of(handshake(("X-Trace-Id", given)), "picows", None, ()).trace_id == kept


@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_secrets_are_never_kept_however_they_are_asked_for(spelling: type[str]) -> None:
    names = tuple(spelling(name) for name, _ in SECRETS)
    client = ClientInfo.of(handshake(*SECRETS, target="/ws?token=secret"), "picows", None, names)
    assert client.headers == () and "secret" not in repr(client) + str(client.describe())


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for"])
def test_a_kept_header_is_found_by_its_lower_case_name(name: str) -> None:
    client = ClientInfo.of(handshake(("X-FORWARDED-FOR", "1.2.3.4")), "picows", None, (name, "x-absent"))
    assert client.header("x-forwarded-for") == "1.2.3.4"
    assert client.header("x-absent") is None and len(client.headers) == 1
