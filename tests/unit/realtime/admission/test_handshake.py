"""What the gate decides. That it does so on every engine is shown by tests/integration/test_limits.py."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mycelia.observability.counters import Counter
from mycelia.protocol.http.request import Handshake, Headers, HttpReply
from mycelia.realtime.connection.link import Link
from mycelia.transports.seam import Accept
from tests.unit.realtime.support import CLIENT_HEADERS, FakeTransport, Stage, staged

LIMITS: Mapping[str, Any] = {"connections_per_address": 2}


def replace(connection: Link, name: str) -> None:
    connection.session.metadata = {"userId": name}


def merge(connection: Link, name: str) -> None:
    connection.session.metadata |= {"userId": name}


WAYS: Mapping[str, Callable[[Link, str], object]] = {
    "item": lambda connection, name: connection.session.metadata.__setitem__("userId", name),
    "update": lambda connection, name: connection.session.metadata.update({"room": 7, "userId": name}),
    "named update": lambda connection, name: connection.session.metadata.update(userId=name),
    "setdefault": lambda connection, name: connection.session.metadata.setdefault("userId", name),
    "whole": replace,
    "merged": merge,
}
OUT: Mapping[str, Callable[[Link], object]] = {
    "del": lambda connection: connection.session.metadata.__delitem__("userId"),
    "none": lambda connection: connection.session.metadata.__setitem__("userId", None),
    "pop": lambda connection: connection.session.metadata.pop("userId"),
    "popitem": lambda connection: connection.session.metadata.popitem(),
    "clear": lambda connection: connection.session.metadata.clear(),
    "another": lambda connection: connection.session.metadata.update(userId="bob"),
}


def knock(stage: Stage, host: str | None = "192.0.2.1", *headers: tuple[str, str], target: str = "/ws") -> int:
    """The status of the answer; an accepted connection is opened."""
    remote = (host, 5) if host is not None else None
    request = Handshake("GET", target, Headers([*CLIENT_HEADERS, *headers]), remote)
    answer = stage.core.admission.admit(stage.config.websocket[0], True, request)
    if isinstance(answer, HttpReply):
        return answer.status
    assert isinstance(answer, Accept)
    peer: Any = answer.peer
    peer.opened(FakeTransport())
    return 101


async def test_an_address_has_so_many_and_gets_them_back() -> None:
    async with staged(limits=LIMITS) as stage:
        assert [knock(stage) for _ in range(3)] == [101, 101, 429]
        assert knock(stage, "192.0.2.2") == 101
        assert [knock(stage, "2001:db8::1"), knock(stage, "2001:db8::2"), knock(stage, "2001:db8::3")] == [
            101,
            101,
            429,
        ]
        assert [knock(stage, None) for _ in range(4)] == [101] * 4, "a socket without addresses has none to count by"
        assert stage.core.counters[Counter.CONNECTIONS_PER_ADDRESS] == 2
        first = next(
            each for each in stage.core.registry.with_transport() if each.session.client.remote_address == "192.0.2.1"
        )
        first.closed(1006, "")
        first.closed(1006, "")
        assert [knock(stage), knock(stage)] == [101, 429]
        for connection in stage.core.registry.with_transport():
            connection.closed(1006, "")
        assert len(stage.core.registry.by_address) == 0


async def test_who_runs_it_behind_a_proxy_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with staged(limits=LIMITS) as stage:
        with caplog.at_level(logging.WARNING, "mycelia.websocket"):
            assert [knock(stage) for _ in range(5)] == [101, 101, 429, 429, 429]
        assert [each.getMessage().endswith("limits.trusted_proxies") for each in caplog.records] == [True]


@pytest.mark.parametrize("limits", [{"connections_per_address": 0}, {"trusted_proxies": ["192.0.2.1"]}])
async def test_without_a_limit_and_behind_a_known_proxy_there_are_more(limits: Mapping[str, Any]) -> None:
    async with staged(limits={"connections_per_address": 1, **limits}) as stage:
        for number in range(5):
            assert knock(stage, "192.0.2.1", ("X-Forwarded-For", f"198.51.100.{number}")) == 101


@pytest.mark.parametrize("why", ["drains", "stops", "is full"])
async def test_nobody_comes_in_when_it(why: str) -> None:
    async with staged(connection={"max_connections": 1}) as stage:
        if why == "drains":
            stage.core.state.is_accepting = False
        elif why == "stops":
            stage.core.state.is_stopping = True
        else:
            assert knock(stage) == 101
        assert knock(stage) == 503 and stage.core.counters[Counter.CONNECTIONS] == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_principal_has_so_many_however_it_is_written_down(way: str) -> None:
    """Whoever signs in later is counted by the writing itself, so that nothing can forget to."""
    async with staged(limits={"connections_per_principal": 2}) as stage:
        opened = [stage.open() for _ in range(3)]
        tally = stage.core.registry.by_principal
        for connection, _ in opened:
            WAYS[way](connection, "ada")
            WAYS[way](connection, "ada")  # the same one, and no second
            assert connection.session.metadata["userId"] == "ada"
        assert [transport.closings for _, transport in opened] == [
            [],
            [],
            [(4429, "too many connections of this user")],
        ]
        assert tally["ada"] == 2 and stage.core.counters[Counter.CONNECTIONS_PER_PRINCIPAL] == 1


@pytest.mark.parametrize("way", OUT)
async def test_who_signs_out_or_becomes_another_makes_room(way: str) -> None:
    async with staged(limits={"connections_per_principal": 1}) as stage:
        (first, _), (second, _) = stage.open(), stage.open()
        tally = stage.core.registry.by_principal
        first.session.metadata["userId"] = "ada"
        OUT[way](first)
        assert tally["ada"] == 0
        second.session.metadata["userId"] = "ada"
        assert first.is_open and second.is_open
        first.session.metadata = {"user_id": "ada", "userId": "bob"}
        assert first.is_open and tally["bob"] == 1
        for connection in (first, second):
            connection.closed(1006, "")
        assert len(tally) == 0
        first.session.metadata["userId"] = "ada"
        assert len(tally) == 0, "who has gone is not counted again"


async def test_what_says_nothing_of_a_principal_counts_for_none() -> None:
    async with staged(limits={"connections_per_principal": 1}) as stage:
        (first, _), (second, _) = stage.open(), stage.open()
        for connection in (first, second):
            connection.session.metadata.update(room=7)
            connection.session.metadata["permissions"] = ["read"]
            connection.session.metadata["userId"] = None
            assert connection.is_open
        assert len(stage.core.registry.by_principal) == 0


async def test_without_the_limit_metadata_is_a_plain_mapping() -> None:
    async with staged(limits={"connections_per_principal": 0}) as stage:
        for _ in range(3):
            connection, _ = stage.open()
            connection.session.metadata["userId"] = "ada"
            assert type(connection.session.metadata) is dict and connection.is_open


@pytest.mark.parametrize(
    ("rule", "host", "status"),
    [
        ("h", "h", 101),
        ("h", "H:9000", 101),
        ("h:9000", "h:9000", 101),
        ("h:9000", "h", 421),
        ("h:9000", "h:9001", 421),
        ("*.h", "a.h", 101),
        ("*.h", "a.b.h:1", 101),
        ("*.h", "h", 421),
        ("*.h", "evilh", 421),
        ("[::1]", "[::1]:8080", 101),
        ("h", "h@evil", 421),
        ("h", "h:x", 421),
    ],
)
async def test_the_host_that_a_client_believes_to_talk_to(rule: str, host: str, status: int) -> None:
    async with staged() as stage:
        server = type(stage.config.websocket[0])(type="memory", allowed_hosts=(rule,))
        lines = [(name, host if name == "Host" else value) for name, value in CLIENT_HEADERS]
        answer = stage.core.admission.admit(server, True, Handshake("GET", "/ws", Headers(lines), ("192.0.2.1", 5)))
        assert (101 if isinstance(answer, Accept) else answer.status) == status
        if isinstance(answer, Accept):
            peer: Any = answer.peer
            peer.opened(FakeTransport())


async def test_pages_are_for_known_hosts_only() -> None:
    async with staged() as stage:
        server = type(stage.config.websocket[0])(
            type="memory", allowed_hosts=("other",), http=lambda request: HttpReply(200, b"page")
        )
        answer = stage.core.admission.admit(server, True, Handshake("GET", "/", Headers(CLIENT_HEADERS), None))
        assert isinstance(answer, HttpReply) and answer.status == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 0),
        ([("Origin", "https://app.example")], 0),
        ([("Origin", "https://evil.example")], 403),
        ([("Origin", "null")], 403),
        ([("Host", "other")], 421),
        ([("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("Origin", "https://h")], 0),
    ],
)
async def test_plain_requests_are_screened_as_handshakes_are(headers: list[tuple[str, str]], status: int) -> None:
    async with staged(limits={"trusted_proxies": ["192.0.2.1"]}) as stage:
        server = type(stage.config.websocket[0])(
            type="memory", allowed_hosts=("h",), allowed_origins=("https://app.example",)
        )
        lines = [("Host", "h"), *headers] if "Host" not in dict(headers) else headers
        reply = stage.core.admission.check_plain_request(
            server, Handshake("GET", "/x", Headers(lines), ("192.0.2.1", 5))
        )
        assert (0 if reply is None else reply.status) == status
        refused = stage.core.counters
        assert refused[Counter.ORIGIN] + refused[Counter.HOST] == (1 if status else 0)
