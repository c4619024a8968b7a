from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mycelia.errors import ConfigError
from mycelia.net.listen_address import asked_of_place, check_one_place, check_place, urls_of

HOST, PORT = "0.0.0.0", 80


@dataclass(frozen=True)
class Where:
    host: Any = HOST
    port: int = PORT
    unix_socket: Any = None
    socket_mode: str = "600"
    tls: object = None


@pytest.mark.parametrize(
    ("where", "key", "complaint"),
    [
        (Where(host=""), "host", "expected an address or a list of addresses"),
        (Where(host=()), "host", "expected an address or a list of addresses"),
        (Where(host=("::", 5)), "host", "expected an address or a list of addresses"),
        (Where(unix_socket=""), "unix_socket", "expected the path of a socket"),
        (Where(unix_socket="a\0b"), "unix_socket", "expected the path of a socket"),
        (Where(unix_socket="a", port=81), "unix_socket", "given beside host or port"),
        (Where(unix_socket="a", host="::"), "unix_socket", "given beside host or port"),
        (Where(socket_mode="8"), "socket_mode", "octal digits"),
        (Where(socket_mode="1777"), "socket_mode", "octal digits"),
        (Where(socket_mode="٦"), "socket_mode", "octal digits"),
    ],
)
def test_what_can_be_no_place(where: Where, key: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        check_place(where, HOST, PORT)
    assert caught.value.key == key


def test_a_list_of_addresses_becomes_a_tuple() -> None:
    where = Where(host=["::1", "127.0.0.1"])
    check_place(where, HOST, PORT)
    assert where.host == ("::1", "127.0.0.1")


@pytest.mark.parametrize("key", ["unix_socket", "unixSocket"])
@pytest.mark.parametrize("other", ["host", "port"])
def test_two_places_are_refused_even_where_one_is_the_usual(key: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"given beside {other}; it listens in one place") as caught:
        check_one_place({key: "/run/a.sock", other: HOST})
    assert caught.value.key == key
    check_one_place({key: None, other: HOST})
    check_one_place({key: "/run/a.sock"})


@pytest.mark.parametrize(
    ("where", "owned", "asked"),
    [
        (Where(), True, set()),
        (Where(tls=object()), False, {"tls"}),
        (Where(unix_socket="a"), False, {"unix_socket"}),
        (Where(host=("::1",)), False, set()),
        (Where(host=("::1", "127.0.0.1")), False, {"addresses"}),
        (Where(host="::", port=81), False, set()),
        (Where(host="::", port=81), True, {"listen"}),
    ],
)
def test_what_a_place_asks_of_an_engine(where: Where, owned: bool, asked: set[str]) -> None:
    assert {each.ability for each in asked_of_place(where, HOST, PORT, owned=owned) if each.asked} == asked


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        (Where(), "/ws", ["ws://192.0.2.1:80/ws", "ws://[::1]:80/ws"]),
        (Where(tls=object()), "", ["wss://192.0.2.1:80", "wss://[::1]:80"]),
        (Where(unix_socket="/run/a.sock"), "/ws", ["ws+unix:/run/a.sock:/ws"]),
        (Where(unix_socket="/run/a.sock", tls=object()), "", ["wss+unix:/run/a.sock"]),
    ],
    ids=["tcp", "tls", "file", "file and tls"],
)
def test_where_clients_find_it(where: Where, path: str, expected: list[str]) -> None:
    assert urls_of("ws", where, [("192.0.2.1", 80), ("::1", 80)], path) == expected
