"""Where the HTTP server listens, under each of the servers: with TLS, on several addresses, in the file system; and the
sockets that it serves beside. By clients of others: httpx, ssl, curl, websockets, socket.io-client.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from mycelia import ConfigError
from mycelia.websocket import WebSocketSubsystem
from tests.integration.harness import half_taken, until, within
from tests.integration.test_asgi import ask
from tests.integration.test_server import App, each_kind, runtime_of_granian
from tests.integration.test_socketio import client as socketio_client
from tests.support.certificates import Issued, issue
from tests.support.parts import NodeClients

__all__ = ["runtime_of_granian"]

RENEWING = ("uvicorn", "hypercorn")


@asynccontextmanager
async def running(kind: str, server: dict[str, Any], **config: Any) -> AsyncIterator[App]:
    app = App(kind, server=server, **config)
    async with app.system:
        yield app


def by_http(url: str, issued: Issued | None = None, **settings: Any) -> httpx.AsyncClient:
    verify: Any = settings.pop("verify", None) or (issued.trusting() if issued else True)
    return httpx.AsyncClient(base_url=url, verify=verify, timeout=10, trust_env=False, **settings)


def by_file(path: Path, url: str = "http://localhost", verify: Any = True) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=verify)
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=10, trust_env=False)


async def seen(client: httpx.AsyncClient) -> tuple[bool, str | None]:
    data = (await client.get("/users/7")).json()["data"]
    return data["secure"], data["from"]


async def serial_of(app: App, trusting: ssl.SSLContext, name: str | None) -> int:
    """Which certificate a new client is shown; without a name it sends no SNI."""
    trusting.check_hostname = name is not None
    address = app.http.server.get_address()
    assert address is not None
    _, writer = await asyncio.open_connection(*address, ssl=trusting, server_hostname=name or "")
    shown: Any = writer.get_extra_info("peercert")
    writer.transport.abort()
    return int(shown["serialNumber"], 16)


async def curl(*arguments: str) -> str:
    found = shutil.which("curl")
    assert found is not None, "curl is missing: install it"
    process = await asyncio.create_subprocess_exec(
        found, "-sS", "--max-time", "10", "--noproxy", "*", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await within(process.communicate())
    assert process.returncode == 0
    return output.decode()


# -- addresses -----------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_both_families_are_two_addresses_with_one_port(
    kind: str, encrypted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issued = issue(tmp_path)
    server = {"host": ["127.0.0.1", "::1"], "tls": issued.config if encrypted else None}
    with caplog.at_level(logging.INFO, "mycelia.server"):
        async with running(kind, server) as app:
            facet, scheme = app.http.server, "https" if encrypted else "http"
            port = facet.get_port()
            assert facet.get_address() == ("127.0.0.1", port)
            assert facet.get_urls() == [f"{scheme}://127.0.0.1:{port}", f"{scheme}://[::1]:{port}"]
            for url, address in zip(facet.get_urls(), ("127.0.0.1", "::1"), strict=True):
                async with by_http(url, issued) as client:
                    assert await seen(client) == (encrypted, address)
                answer = await curl("--cacert", issued.certificate, f"{url}/users/7")
                assert json.loads(answer)["data"]["secure"] is encrypted
            assert f"serving with {facet.config.server.type} on {' and '.join(facet.get_urls())}" in caplog.text
        assert (facet.get_urls(), facet.get_address(), facet.get_port()) == ([], None, None)


@each_kind
async def test_several_addresses_are_all_or_none(kind: str) -> None:
    with half_taken() as port:
        async with running(kind, {"host": ["127.0.0.1", "::1"], "port": port}):
            pass


# -- the file system -----------------------------------------------------------------------------------


@pytest.mark.every_loop
@each_kind
async def test_a_socket_in_the_file_system(kind: str, loop_kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    limits = {"trusted_proxies": ["unix"], "requests_per_address": 1}
    async with running(kind, {"unix_socket": str(path), "socket_mode": "660"}, limits=limits) as app:
        facet = app.http.server
        assert facet.get_urls() == [f"http+unix:{path}"] and facet.get_address() is None and facet.get_port() is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with by_file(path) as client:
            assert await seen(client) == (False, None)
            assert (await client.put("/echo", json="x" * 100_000)).json()["data"] == "x" * 100_000
            client.headers.update({"x-forwarded-for": "203.0.113.1", "x-forwarded-proto": "https"})
            assert await seen(client) == (True, "203.0.113.1")
        assert json.loads(await curl("--unix-socket", str(path), "http://localhost/users/7"))["data"]["id"] == 7
        await facet.stop()
        assert not path.exists()
        await facet.start()
        async with by_file(path) as client:
            assert await seen(client) == (False, None)
    assert not path.exists()


@each_kind
async def test_a_stale_socket_file_is_replaced_and_one_in_use_is_not(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))  # and never listens again
    async with running(kind, {"unix_socket": str(path)}) as app:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(OSError, match="somebody listens on") as caught:
            async with running(kind, {"unix_socket": str(path)}):
                pass
        assert caught.value.errno == errno.EADDRINUSE
        async with by_file(path) as client:
            assert (await client.get("/live")).status_code == 200
        path.unlink()
        path.write_text("of somebody else")
        await app.http.server.stop()
        assert path.read_text() == "of somebody else"
        with pytest.raises(OSError, match="expected a path without a file"):
            await app.http.server.start()
        assert not app.http.server.is_running()


@each_kind
async def test_tls_over_a_socket_in_the_file_system(kind: str, tmp_path: Path) -> None:
    issued, path = issue(tmp_path), tmp_path / "tls.sock"
    async with running(kind, {"unix_socket": str(path), "tls": issued.config}) as app:
        assert app.http.server.get_urls() == [f"https+unix:{path}"]
        async with by_file(path, "https://localhost", issued.trusting()) as client:
            assert await seen(client) == (True, None)


# -- certificates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RENEWING)
async def test_a_key_with_a_password(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path, password="open sesame")
    tls = {**issued.config, "password": "open sesame"}
    async with running(kind, {"tls": tls}) as app, by_http(app.url, issued) as client:
        assert await seen(client) == (True, "127.0.0.1")


@each_kind
async def test_a_certificate_and_its_key_may_share_a_file(kind: str, tmp_path: Path) -> None:
    issued, both = issue(tmp_path), tmp_path / "both.pem"
    with both.open("wb") as file:
        for part in (issued.key, issued.certificate):
            with open(part, "rb") as each:  # noqa: ASYNC230
                file.write(each.read())
    async with running(kind, {"tls": {"certificate": both}}) as app, by_http(app.url, issued) as client:
        assert await seen(client) == (True, "127.0.0.1")


@each_kind
async def test_clients_that_must_show_a_certificate(kind: str, tmp_path: Path) -> None:
    issued, authority = issue(tmp_path), issue(tmp_path, "authority")
    member = issue(tmp_path, "member", authority=authority)
    shows = issued.trusting()
    shows.load_cert_chain(member.certificate, member.key)
    async with running(kind, {"tls": {**issued.config, "clientCa": authority.certificate}}) as app:
        async with by_http(app.url, issued) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.get("/users/7")
        async with by_http(app.url, verify=shows) as client:
            assert await seen(client) == (True, "127.0.0.1")


@pytest.mark.every_loop
@each_kind
async def test_what_is_no_tls_harms_nobody(
    kind: str, loop_kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issued = issue(tmp_path)
    async with running(kind, {"tls": issued.config}) as app, by_http(app.url, issued) as client:
        for data in (b"GET /?secret HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01\x00\x04zzzz", b"\0" * 64):
            reader, writer = await asyncio.open_connection("127.0.0.1", app.http.server.get_port())
            writer.write(data)
            assert b"HTTP" not in await within(_rest(reader))
            writer.close()
        old = issued.trusting()
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await serial_of(app, old, "localhost") == issued.serial
        assert await seen(client) == (True, "127.0.0.1")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "secret" not in caplog.text


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.every_loop
@pytest.mark.parametrize("kind", RENEWING)
@pytest.mark.parametrize("name", ["localhost", None], ids=["by name", "without a name"])
async def test_certificates_are_renewed_without_a_restart(
    kind: str, loop_kind: str, name: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = issue(tmp_path)
    trusts_first = first.trusting()
    async with running(kind, {"tls": first.config}) as app, by_http(app.url, first) as early:
        assert await seen(early) == (True, "127.0.0.1")  # and stays connected
        second = issue(tmp_path)
        assert await serial_of(app, trusts_first, name) == first.serial  # nothing is read until it is asked for
        with caplog.at_level(logging.INFO, "mycelia.server"):
            app.http.server.reload_certificates()
        assert "certificates" in caplog.text
        with pytest.raises(ssl.SSLCertVerificationError):
            await serial_of(app, trusts_first, name)
        assert await serial_of(app, second.trusting(), name) == second.serial
        assert await seen(early) == (True, "127.0.0.1")
        os.replace(issue(tmp_path, "other").key, second.key)
        with pytest.raises(ConfigError, match=r"server\.tls\.key: .*do not fit"):
            app.http.server.reload_certificates()
        os.unlink(second.key)
        with pytest.raises(ConfigError, match=r"server\.tls\.key: cannot read"):
            app.http.server.reload_certificates()
        assert await serial_of(app, second.trusting(), name) == second.serial


@pytest.mark.parametrize("kind", RENEWING)
async def test_a_context_of_the_applications_own(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    async with running(kind, {"tls": context}) as app:
        async with by_http(app.url, issued) as client:
            assert await seen(client) == (True, "127.0.0.1")
        second = issue(tmp_path)
        context.load_cert_chain(second.certificate, second.key)
        app.http.server.reload_certificates()
        assert await serial_of(app, second.trusting(), "localhost") == second.serial


@pytest.mark.every_loop
async def test_a_stop_waits_for_no_client_that_does_not_read(
    loop_kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Browsers do not read the connections that they keep, so that none answers a close_notify."""
    issued = issue(tmp_path)
    async with running("uvicorn", {"tls": issued.config}) as app:
        port = app.http.server.get_port()
        reader, writer = await asyncio.open_connection("localhost", port, ssl=issued.trusting())
        writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await within(reader.readline())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await within(app.http.server.stop())
        writer.transport.abort()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_granian_cannot_do_is_said_with_those_that_can(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigError) as caught:
        App("granian", server={"tls": context})
    problem = "the server 'granian' cannot serve an ssl.SSLContext of the application's; uvicorn and hypercorn can"
    assert str(caught.value) == f"server.tls: {problem}"
    locked = issue(tmp_path, password="open sesame")
    with pytest.raises(
        ConfigError, match=r"^server\.tls\.password: .* read a key with a password; uvicorn and hypercorn can$"
    ):
        App("granian", server={"tls": {**locked.config, "password": "open sesame"}})
    issued = issue(tmp_path)
    async with running("granian", {"tls": issued.config}) as app:
        with pytest.raises(
            ConfigError, match=r"server\.tls: .*cannot renew its certificate.*; uvicorn and hypercorn can"
        ):
            app.http.server.reload_certificates()
        assert await serial_of(app, issued.trusting(), "localhost") == issued.serial


@each_kind
async def test_a_certificate_that_is_gone_at_the_start(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    app = App(kind, server={"tls": issued.config})
    await app.app.build()
    await app.http.build()
    os.unlink(issued.certificate)
    with pytest.raises(ConfigError, match=r"server\.tls\.certificate: cannot read"):
        await app.http.server.start()
    assert not app.http.server.is_running() and app.http.server.get_urls() == []
    issued = issue(tmp_path)
    await app.http.server.start()
    assert await serial_of(app, issued.trusting(), "localhost") == issued.serial
    await app.http.dispose()


# -- sockets beside ------------------------------------------------------------------------------------

ENDPOINTS = [
    {"type": "asgi", "path": "/ws"},
    {"type": "socketio", "path": "/socket.io"},
    {"type": "sockjs", "path": "/sockjs"},
]


def with_sockets(kind: str, server: dict[str, Any], own: bool = False) -> tuple[App, WebSocketSubsystem]:
    """HTTP and sockets on one port; with `own`, uvicorn leaves those of Socket.IO to ourselves."""
    options: dict[str, Any] = {}
    app = App(kind, server={**server, "options": options}, limits={"close_timeout": 1})
    config = {"websocket": ENDPOINTS, "connection": {"close_timeout": 0.3}}
    sockets = WebSocketSubsystem("websocket", ms=app.system, config=config)
    if own:
        options["ws"] = sockets.asgi.websockets

    async def who(options: Any) -> list[Any]:
        client = options.connection.client
        return [client.engine, client.secure, client.remote_address]

    app.app.register_route("app://who", who, expose=True)
    app.app.register_route("app://echo/{n}", lambda body: body, expose=True)
    return app, sockets


PAGES = [
    ("https://app.example.org", True),
    ("http://app.example.org", False),  # a plain page is another origin than the server behind TLS
    ("https://other.example.org", False),
]

HOW = pytest.mark.parametrize(
    ("kind", "own"),
    [("uvicorn", False), ("uvicorn", True), ("granian", False), ("hypercorn", False)],
    ids=["uvicorn", "uvicorn-ours", "granian", "hypercorn"],
)


async def call_by_socketio(client: Any, path: str, body: Any = None) -> Any:
    await client.send(f"420{json.dumps([path, body])}")
    while (packet := str(await within(client.recv()))) == "2" or packet.startswith("42"):
        if packet == "2":
            await client.send("3")
    assert packet.startswith("430["), packet
    return json.loads(packet[3:])[0]["data"]


@pytest.mark.every_loop
@HOW
async def test_sockets_beside_are_encrypted_too(kind: str, own: bool, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    app, sockets = with_sockets(kind, {"tls": issued.config}, own)
    async with app.system:
        web = app.url.replace("https", "wss")
        settings: dict[str, Any] = {"ssl": issued.trusting(), "open_timeout": 8, "close_timeout": 2}
        async with connect(f"{web}/ws", **settings) as plain:
            assert await ask(plain, "app://who") == ["asgi", True, "127.0.0.1"]
        async with connect(f"{web}/socket.io/?EIO=4&transport=websocket", **settings) as framed:
            assert str(await within(framed.recv())).startswith("0")
            await framed.send("40")
            assert str(await within(framed.recv())).startswith("40")
            assert await call_by_socketio(framed, "app://who") == ["socketio", True, "127.0.0.1"]
            for size in (1, 126, 16_384, 65_536, 400_000):
                assert await call_by_socketio(framed, "app://echo/1", "x" * size) == "x" * size
        async with connect(f"{web}/sockjs/000/abc/websocket", **settings) as framed:
            assert await within(framed.recv()) == "o"
            await framed.send(json.dumps([json.dumps({"path": "app://who"})]))
            told = json.loads(json.loads(str(await within(framed.recv()))[1:])[0])
            assert told["data"] == ["sockjs", True, "127.0.0.1"]
        await until(lambda: sockets.websocket.get_connection_count() == 0)


@HOW
async def test_sockets_beside_are_told_that_their_server_stops(kind: str, own: bool) -> None:
    app, sockets = with_sockets(kind, {}, own)
    async with app.system:
        for _ in range(2):  # it can be started again
            web = app.url.replace("http", "ws")
            async with (
                connect(f"{web}/ws", open_timeout=8) as plain,
                connect(f"{web}/socket.io/?EIO=4&transport=websocket", open_timeout=8) as framed,
                connect(f"{web}/sockjs/000/abc/websocket", open_timeout=8) as wrapped,
            ):
                assert await ask(plain, "app://who") == ["asgi", False, "127.0.0.1"]
                await framed.send("40")
                await wrapped.send(json.dumps([json.dumps({"path": "app://who"})]))
                await until(lambda: sockets.websocket.get_connection_count() == 3)
                await within(app.http.server.stop())
                assert sockets.websocket.get_connection_count() == 0
                for each in (plain, framed, wrapped):
                    await within(each.wait_closed())
                    assert each.close_code == 1001, each
            assert sockets.websocket.is_running()
            await app.http.server.start()


@pytest.mark.every_loop
@HOW
async def test_the_page_of_a_socket_is_compared_with_https(
    kind: str, own: bool, loop_kind: str, tmp_path: Path
) -> None:
    issued = issue(tmp_path)
    app, _ = with_sockets(kind, {"tls": issued.config}, own)
    async with app.system:
        where = {"host": "127.0.0.1", "port": app.http.server.get_port(), "server_hostname": "localhost"}
        settings: dict[str, Any] = {**where, "ssl": issued.trusting(), "open_timeout": 8, "close_timeout": 2}
        for path in ("/ws", "/socket.io/?EIO=4&transport=websocket", "/sockjs/000/abc/websocket"):
            for origin, good in PAGES:
                opening = connect(f"wss://app.example.org{path}", origin=Origin(origin), **settings)
                if good:
                    async with opening:
                        pass
                    continue
                with pytest.raises(InvalidStatus) as caught:
                    async with opening:
                        pass
                assert caught.value.response.status_code == 403
        async with by_http(app.url, issued) as client:
            for origin, good in PAGES:
                answer = await client.post("/echo", json=1, headers={"host": "app.example.org", "origin": origin})
                assert answer.status_code == (201 if good else 403)


@pytest.mark.time_limit(60)
@HOW
async def test_the_official_client_over_tls(
    kind: str, own: bool, clients: NodeClients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issue(tmp_path)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", issued.certificate)
    app, sockets = with_sockets(kind, {"tls": issued.config}, own)
    async with app.system, socketio_client(clients, app.url, "polling,websocket") as other:
        await other.until("connect")
        await other.until("upgrade")
        await sockets.websocket.broadcast({"event": "news", "data": "all"})
        assert await other.until("event") == ["news", "all"]


@each_kind
async def test_sockets_beside_in_the_file_system(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    app, _ = with_sockets(kind, {"unix_socket": str(path)})
    async with app.system, unix_connect(str(path), "ws://localhost/ws", open_timeout=8, close_timeout=2) as plain:
        assert await ask(plain, "app://who") == ["asgi", False, None]


@pytest.mark.parametrize("kind", RENEWING)
async def test_a_renewal_keeps_the_sockets(kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    app, _ = with_sockets(kind, {"tls": issued.config})
    async with app.system:
        web = app.url.replace("https", "wss")
        async with connect(f"{web}/ws", ssl=issued.trusting(), open_timeout=8, close_timeout=2) as early:
            issued = issue(tmp_path)
            app.http.server.reload_certificates()
            async with connect(f"{web}/ws", ssl=issued.trusting(), open_timeout=8, close_timeout=2) as late:
                assert await ask(late, "app://who") == await ask(early, "app://who") == ["asgi", True, "127.0.0.1"]
