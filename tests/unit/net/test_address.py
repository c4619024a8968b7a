from __future__ import annotations

import pytest

from mycelia.net.address import Proxies, Tally, address_key
from mycelia.protocol.http.request import Handshake, Headers


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        (None, ""),
        ("no:address", "no:address"),
    ],
)
def test_what_an_address_is_counted_under(host: str | None, key: str) -> None:
    assert address_key(host) == key


def test_a_tally_keeps_nothing_of_what_is_gone() -> None:
    tally = Tally()
    assert [tally.add("a"), tally.add("a"), tally.add("b")] == [1, 2, 1]
    tally.remove("a")
    tally.remove("b")
    assert (tally["a"], tally["b"], len(tally)) == (1, 0, 1)


def ask(remote: str | None, *forwarded: str) -> str | None:
    headers = Headers([("X-Forwarded-For", line) for line in forwarded])
    request = Handshake("GET", "/ws", headers, (remote, 5) if remote is not None else None)
    seen = Proxies(["10.0.0.0/8", "2001:db8::/32"]).unveil(request)
    return seen.remote[0] if seen.remote is not None else None


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.1"], "192.0.2.1"),  # not one of ours: what it says is not believed
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.9", "203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.1, 2001:db8::7"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [", ,"], "10.0.0.1"),
        ("10.0.0.1", ["2001:dead::1"], "2001:dead::1"),
        (None, ["203.0.113.1"], None),
    ],
)
def test_the_client_behind_proxies(remote: str | None, forwarded: list[str], client: str | None) -> None:
    assert ask(remote, *forwarded) == client


def test_a_long_chain_of_proxies_is_not_followed_for_ever() -> None:
    assert ask("10.0.0.1", ", ".join(["203.0.113.1"] + ["10.0.0.2"] * 1000)) == "10.0.0.2"
