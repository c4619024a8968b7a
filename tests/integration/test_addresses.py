"""Where a server listens: IPv4, IPv6, several addresses, a socket in the file system; and who stands in front of it."""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import websockets

from mycelia import ConfigError
from tests.integration.harness import each_engine, half_taken, until, within
from tests.integration.test_tls import Hall, ask
from tests.support.certificates import issue


@asynccontextmanager
async def serving(engine: str, limits: dict[str, Any] | None = None, **endpoint: Any) -> AsyncIterator[Hall]:
    config = {"websocket": {"type": engine, **endpoint}, "connection": {"close_timeout": 0.3}, "limits": limits or {}}
    hall = Hall(config)
    async with hall.system:
        yield hall


def connect(url: str, **settings: Any) -> Any:
    return websockets.connect(url, open_timeout=8, close_timeout=2, **settings)


def by_file(path: Path, **settings: Any) -> Any:
    return websockets.unix_connect(str(path), "ws://localhost/ws", open_timeout=8, close_timeout=2, **settings)


async def status(path: Path) -> int:
    """How a handshake over a socket in the file system is answered."""
    try:
        async with by_file(path):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.every_loop
@each_engine
async def test_both_families_are_two_addresses_with_one_port(engine: str, loop_kind: str) -> None:
    async with serving(engine, host=["127.0.0.1", "::1"], port=0) as hall:
        port = hall.port
        assert hall.facet.get_address() == ("127.0.0.1", port)
        assert hall.facet.get_urls() == [f"ws://127.0.0.1:{port}/ws", f"ws://[::1]:{port}/ws"]
        for url, seen in zip(hall.facet.get_urls(), ("127.0.0.1", "::1"), strict=True):
            async with connect(url) as client:
                assert await ask(client, "app://who") == [False, seen]
                native: Any = hall.facet.get_all_connections()[0].socket
                assert native.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await until(lambda: not hall.facet.get_connection_count())
    assert hall.sockets.find("websocket") is None


@pytest.mark.every_loop
@each_engine
async def test_an_ipv6_socket_is_for_ipv6_only(engine: str, loop_kind: str) -> None:
    async with serving(engine, host="::", port=0) as hall:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", hall.port)
        async with connect(f"ws://[::1]:{hall.port}/ws") as client:
            assert await ask(client, "app://who") == [False, "::1"]


@pytest.mark.every_loop
@each_engine
async def test_several_addresses_are_all_or_none(engine: str, loop_kind: str) -> None:
    with half_taken() as port:
        async with serving(engine, host=["127.0.0.1", "::1"], port=port):
            pass


@pytest.mark.every_loop
@each_engine
@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        ({"host": "no.such.host.invalid"}, r"cannot listen on no\.such\.host\.invalid: "),
        ({"host": "192.0.2.1"}, r"cannot listen on 192\.0\.2\.1:0: "),
        ({"host": ["127.0.0.1", "192.0.2.1"]}, r"cannot listen on 192\.0\.2\.1:\d+: "),
        ({"host": ["0.0.0.0", "127.0.0.1"]}, r"cannot listen on 127\.0\.0\.1:\d+: "),
        ({"unix_socket": "{folder}/none/app.sock"}, r"cannot listen on '.+/none/app\.sock': "),
        ({"unix_socket": "{folder}/" + "x" * 200}, r"cannot listen on '.+/xxx+': "),
    ],
)
async def test_where_it_cannot_listen_is_named(
    engine: str, loop_kind: str, endpoint: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    where = {"port": 0} if "host" in endpoint else {"unix_socket": endpoint["unix_socket"].format(folder=tmp_path)}
    with pytest.raises(OSError, match=complaint) as caught:
        async with serving(engine, **{**endpoint, **where}):
            pass
    assert caught.value.errno


@pytest.mark.every_loop
@each_engine
async def test_of_a_names_addresses_those_that_the_machine_does_not_have_are_left_out(
    engine: str, loop_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without IPv6 has `::1 localhost` in its list of hosts all the same."""
    look_up = socket.getaddrinfo

    def with_another(host: Any, port: Any, *args: Any, **settings: Any) -> Any:
        found = look_up("127.0.0.1", port, *args, **settings)
        absent = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("2001:db8::1", port, 0, 0))
        return {"localhost": [absent, *found], "127.0.0.1": found}.get(host, [absent])

    monkeypatch.setattr(socket, "getaddrinfo", with_another)
    for host in ("localhost", ["127.0.0.1", "localhost"]):
        async with serving(engine, host=host, port=0) as hall:
            assert hall.facet.get_urls() == [f"ws://127.0.0.1:{hall.port}/ws"]
    with pytest.raises(OSError, match=r"cannot listen on \[2001:db8::1\]:"):
        async with serving(engine, host=["localhost", "2001:db8::1"], port=0):
            pass


@pytest.mark.every_loop
@each_engine
async def test_a_socket_in_the_file_system(engine: str, loop_kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    limits = {"connections_per_address": 1, "accept_rate_per_address": {"max_messages": 1, "window": 3600.0}}
    async with serving(engine, limits, unix_socket=str(path), socket_mode="660") as hall:
        assert hall.facet.get_urls() == [f"ws+unix:{path}:/ws"] and hall.facet.get_address() is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with by_file(path) as first, by_file(path) as second:  # who has no address is not counted by address
            assert await ask(first, "app://who") == await ask(second, "app://who") == [False, None]
            assert await ask(first, "app://echo", "x" * 100_000) == "x" * 100_000
            await hall.facet.stop()
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await within(second.recv())
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001
        assert not path.exists()
        await hall.facet.start()
        async with by_file(path) as client:
            assert await ask(client, "app://echo", 1) == 1
    assert not path.exists()


@each_engine
async def test_a_socket_file_is_its_owners_alone_unless_said_otherwise(engine: str, tmp_path: Path) -> None:
    async with serving(engine, unixSocket=str(tmp_path / "s")):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


@pytest.mark.every_loop
@each_engine
async def test_a_stale_socket_file_is_replaced_and_one_in_use_is_not(
    engine: str, loop_kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))  # and never listens again
    async with serving(engine, unix_socket=str(path)) as hall:
        assert await status(path) == 101
        with pytest.raises(OSError, match="somebody listens on") as caught:
            async with serving(engine, unix_socket=str(path)):
                pass
        assert caught.value.errno == errno.EADDRINUSE
        assert await status(path) == 101
        path.unlink()
        path.write_text("of somebody else")
        await hall.facet.stop()
        assert path.read_text() == "of somebody else"
        with pytest.raises(OSError, match="expected a path without a file") as caught:
            await hall.facet.start()
        assert not hall.facet.is_running()
        path.unlink()
        await hall.facet.start()
    assert not path.exists()


@pytest.mark.every_loop
@each_engine
@pytest.mark.parametrize("place", ["address", "file"])
async def test_a_start_that_is_cancelled_leaves_nothing(
    engine: str, loop_kind: str, place: str, tmp_path: Path, free_port: int
) -> None:
    path = tmp_path / "app.sock"
    where: dict[str, Any] = {"unix_socket": str(path)} if place == "file" else {"host": "127.0.0.1", "port": free_port}
    async with serving(engine, **where) as hall:
        for turns in range(1, 9):
            await hall.facet.stop()
            starting = asyncio.create_task(hall.facet.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            done = starting.done()
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            assert hall.facet.is_running() is path.exists() or place == "address"
            assert hall.facet.is_accepting() is hall.facet.is_running()
            if not hall.facet.is_running():
                await hall.facet.start()
            async with by_file(path) if place == "file" else connect(f"ws://127.0.0.1:{free_port}/ws") as client:
                assert await ask(client, "app://echo", turns) == turns
            if done:
                return


@pytest.mark.every_loop
@each_engine
async def test_tls_over_a_socket_in_the_file_system(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued, path = issue(tmp_path), tmp_path / "tls.sock"
    async with serving(engine, unix_socket=str(path), tls=issued.config) as hall:
        assert hall.facet.get_urls() == [f"wss+unix:{path}:/ws"]
        reach = websockets.unix_connect(str(path), "wss://localhost/ws", ssl=issued.trusting(), open_timeout=8)
        async with reach as client:
            assert await ask(client, "app://who") == [True, None]


@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        ({"tls": {}}, "websocket.tls: the engine 'memory' cannot encrypt"),
        ({"unix_socket": "/tmp/x"}, "websocket.unix_socket: the engine 'memory' cannot listen in the file system"),
        ({"host": ["127.0.0.1", "::1"]}, "websocket.host: the engine 'memory' cannot listen on several addresses"),
    ],
)
def test_an_engine_without_sockets_says_so_when_it_is_configured(
    endpoint: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    if "tls" in endpoint:
        endpoint = {"tls": issue(tmp_path).config}
    with pytest.raises(ConfigError) as caught:
        Hall({"websocket": {"type": "memory", **endpoint}})
    assert str(caught.value) == f"{complaint}; picows and websockets can"


# -- proxies in front ---------------------------------------------------------------------------------------


@asynccontextmanager
async def behind(engine: str, path: Path, way: str) -> AsyncIterator[Hall]:
    limits = {"trusted_proxies": ["unix", "10.0.0.0/8"], "proxy_headers": way, "connections_per_address": 1}
    async with serving(engine, limits, unix_socket=str(path)) as hall:
        yield hall


async def seen(path: Path, headers: Sequence[tuple[str, str]]) -> Any:
    try:
        async with by_file(path, additional_headers=headers) as client:
            return await ask(client, "app://who")
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


FORWARDED = "Forwarded"
FOR, PROTO = "X-Forwarded-For", "X-Forwarded-Proto"


@each_engine
@pytest.mark.parametrize(
    ("way", "headers", "expected"),
    [
        ("x-forwarded", [(FOR, "203.0.113.1"), (PROTO, "https")], [True, "203.0.113.1"]),
        ("x-forwarded", [(FOR, "203.0.113.1"), (PROTO, "http")], [False, "203.0.113.1"]),
        ("x-forwarded", [(FOR, "203.0.113.1")], [False, "203.0.113.1"]),
        ("x-forwarded", [(FOR, "192.0.2.7:99, 203.0.113.1:4711, 10.0.0.2:80")], [False, "203.0.113.1"]),
        ("x-forwarded", [(FOR, "192.0.2.7"), (FOR, "[2001:db8::7]:4711")], [False, "2001:db8::7"]),
        ("x-forwarded", [(FORWARDED, "for=203.0.113.1;proto=https")], [False, None]),
        ("x-forwarded", [(FOR, "192.0.2.7, 203.0.113.1, 10.0.0.2"), (PROTO, "https")], [True, "203.0.113.1"]),
        ("forwarded", [(FORWARDED, "for=203.0.113.1;proto=https")], [True, "203.0.113.1"]),
        ("forwarded", [(FORWARDED, 'for="[2001:db8::7]:4711";Proto=WSS')], [True, "2001:db8::7"]),
        ("forwarded", [(FORWARDED, "for=192.0.2.9;proto=https, for=203.0.113.1;proto=http")], [False, "203.0.113.1"]),
        ("forwarded", [(FORWARDED, "for=203.0.113.1;proto=https, for=10.0.0.2;proto=http")], [True, "203.0.113.1"]),
        ("forwarded", [(FORWARDED, "for=_hidden;proto=https")], [True, None]),
        ("forwarded", [(FOR, "203.0.113.1"), (PROTO, "https")], [False, None]),
        ("forwarded", [(FORWARDED, 'for=", for=203.0.113.1')], 400),
    ],
)
async def test_what_a_trusted_proxy_says_of_the_client(
    engine: str, way: str, headers: Sequence[tuple[str, str]], expected: Any, tmp_path: Path
) -> None:
    async with behind(engine, tmp_path / "s", way) as hall:
        assert await seen(tmp_path / "s", headers) == expected
        await until(lambda: not hall.facet.get_connection_count())


@each_engine
async def test_behind_a_socket_file_clients_are_counted_by_the_address_that_the_proxy_names(
    engine: str, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    async with behind(engine, path, "forwarded") as hall:
        async with by_file(path, additional_headers={FORWARDED: "for=203.0.113.1"}):
            assert await seen(path, [(FORWARDED, "for=203.0.113.1")]) == 429
            assert await seen(path, [(FORWARDED, "for=203.0.113.2")]) == [False, "203.0.113.2"]
            assert await seen(path, []) == [False, None]
        await until(lambda: not hall.facet.get_connection_count())


@each_engine
async def test_a_peer_that_is_no_proxy_says_nothing(engine: str, tmp_path: Path) -> None:
    limits = {"trusted_proxies": ["unix"], "proxy_headers": "forwarded"}
    async with serving(engine, limits, host="127.0.0.1", port=0) as hall:
        forged = {FORWARDED: "for=203.0.113.1;proto=https", FOR: "203.0.113.1", PROTO: "https"}
        async with connect(f"ws://127.0.0.1:{hall.port}/ws", additional_headers=forged) as client:
            assert await ask(client, "app://who") == [False, "127.0.0.1"]


@each_engine
@pytest.mark.parametrize(
    ("origin", "proto", "expected"),
    [
        ("https://app.example.org", "https", 101),
        ("http://app.example.org", "https", 403),  # a plain page is another origin than the server behind TLS
        ("http://app.example.org", "http", 101),
        ("https://other.example.org", "https", 403),
    ],
)
async def test_the_origin_is_compared_with_host_and_the_protocol_of_the_client(
    engine: str, origin: str, proto: str, expected: int, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    async with behind(engine, path, "x-forwarded"):
        lines = [(PROTO, proto), ("X-Forwarded-Host", "other.example.org"), (FOR, "203.0.113.1")]
        reader, writer = await asyncio.open_unix_connection(str(path))
        head = ["GET /ws HTTP/1.1", "Host: app.example.org", f"Origin: {origin}", "Upgrade: websocket"]
        head += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        head += [f"{name}: {value}" for name, value in lines]
        writer.write("\r\n".join([*head, "", ""]).encode())
        answer = await within(reader.readuntil(b"\r\n"))
        assert int(answer.split()[1]) == expected
        writer.close()
