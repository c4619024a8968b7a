"""TLS on real sockets: with an independent client, with peers that never finish, and with certificates that change."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import websockets

from mycelia import BaseSubsystem, ConfigError, MessageSystem
from mycelia.net.certificates import TlsConfig
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.testing import EngineCheck, FaultProxy, engine_checks
from mycelia.testing.raw_client import TcpRawClient
from mycelia.transports.engine_registry import load_engine
from mycelia.transports.seam import Engine
from mycelia.websocket import WebSocketFacet, WebSocketSubsystem
from tests.integration.harness import each_engine, handshake, until, within
from tests.support.certificates import Issued, issue
from tests.support.records import Records


class Hall:
    """The server under test."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)

        @self.app.route("app://echo", expose=True)
        async def echo(body: Any) -> Any:
            return body

        @self.app.route("app://who", expose=True)
        async def who(options: Any) -> Any:
            client = options.connection.client
            return [client.secure, client.remote_address]

    @property
    def facet(self) -> WebSocketFacet:
        return self.sockets.websocket

    @property
    def port(self) -> int:
        port = self.facet.get_port()
        assert port is not None
        return port

    def count(self, limit: str) -> int:
        counts: dict[str, int] = self.facet.snapshot()["limits"]
        return counts[limit]


@asynccontextmanager
async def serving(engine: str, tls: Any, **config: Any) -> AsyncIterator[Hall]:
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0, "tls": tls, **config.pop("websocket", {})}
    hall = Hall({"websocket": endpoint, "connection": {"close_timeout": 0.3, **config.pop("connection", {})}, **config})
    async with hall.system:
        yield hall


def connect(hall: Hall, issued: Issued, **settings: Any) -> Any:
    """The independent client."""
    context = settings.pop("context", None) or issued.trusting()
    url = f"wss://localhost:{hall.port}/ws"
    return websockets.connect(url, host="127.0.0.1", ssl=context, open_timeout=8, close_timeout=2, **settings)


async def ask(client: Any, path: str, body: Any = None) -> Any:
    await client.send(json.dumps({"path": path, "body": body, "correlationId": "k"}))
    answer = json.loads(await within(client.recv()))
    assert answer["success"], answer
    return answer["data"]


async def dial(hall: Hall) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", hall.port)


def client_hello() -> bytes:
    """The first flight of a client's TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    started = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        started.do_handshake()
    return outgoing.read()


@pytest.mark.every_loop
@each_engine
async def test_an_independent_client_talks_over_tls(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config) as hall, connect(hall, issued) as client:
        assert hall.facet.get_urls() == [f"wss://127.0.0.1:{hall.port}/ws"]
        assert await ask(client, "app://who") == [True, "127.0.0.1"]
        for size in (1, 125, 126, 16_384, 65_535, 65_536, 900_000):
            text = "ä" + "x" * (size - 1)
            assert await ask(client, "app://echo", text) == text
        many = [json.dumps({"path": "app://echo", "body": n, "correlationId": "k"}) for n in range(500)]
        for each in many:
            await client.send(each)
        assert [json.loads(await within(client.recv()))["data"] for _ in many] == list(range(500))
        await hall.facet.broadcast({"event": "news", "data": "b" * 100_000})
        assert len(await within(client.recv())) > 100_000
        await within(await client.ping())
        [connection] = hall.facet.get_all_connections()
        native: Any = connection.socket
        assert native.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert native.get_extra_info("ssl_object").selected_alpn_protocol() is None
        sock = native.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await client.close(1000, "done")
        assert (client.close_code, client.close_reason) == (1000, "")
        await until(lambda: not hall.facet.get_connection_count())


@each_engine
async def test_a_plain_page_of_the_same_host_and_port_is_of_another_origin(engine: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config) as hall:
        async with connect(hall, issued, origin=f"https://localhost:{hall.port}") as client:
            assert (await ask(client, "app://who"))[0] is True
        with pytest.raises(websockets.InvalidStatus) as caught:
            await connect(hall, issued, origin=f"http://localhost:{hall.port}")
        assert caught.value.response.status_code == 403


@pytest.mark.every_loop
@each_engine
async def test_the_servers_close_arrives_over_tls(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config) as hall:
        async with connect(hall, issued) as client:
            hall.facet.close_connection(hall.facet.get_all_connections()[0].id, 4001, "enough")
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await within(client.recv())
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 4001
        async with connect(hall, issued) as client:
            client.transport.write(b"\xff\xff\xff\xff")  # breaks RFC 6455
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await within(client.recv())
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1002
        async with connect(hall, issued) as client:
            await hall.facet.stop()
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await within(client.recv())
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001


@pytest.mark.every_loop
@each_engine
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["nothing", "half a hello", "a hello"])
async def test_a_tls_handshake_that_never_finishes_is_counted_and_dropped(
    engine: str, loop_kind: str, share: float, tmp_path: Path
) -> None:
    limits = {"connection_timeout": 0.3, "max_half_open": 2}
    async with serving(engine, issue(tmp_path).config, connection=limits) as hall:
        hello = client_hello()
        dialled = [await dial(hall) for _ in range(2)]
        for _, writer in dialled:
            writer.write(hello[: int(len(hello) * share)])
        await until(lambda: hall.facet.snapshot()["halfOpen"] == 2)
        reader, writer = await dial(hall)  # one more than there may be is reset at the accept
        assert await _rest(reader) == b""
        assert hall.count("halfOpen") == 1
        writer.close()
        for reader, writer in dialled:
            rest = await _rest(reader)
            assert bool(rest) is (share == 1.0) and b"HTTP" not in rest
            writer.close()
        assert hall.facet.snapshot()["halfOpen"] == 0
        assert hall.count("handshakeTime") == 2


@pytest.mark.every_loop
@each_engine
async def test_one_deadline_covers_tls_and_http(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config, connection={"connection_timeout": 0.4}) as hall:
        reader, writer = await asyncio.open_connection("127.0.0.1", hall.port, ssl=issued.trusting())
        writer.write(b"GET /ws HTTP/1.1\r\n")
        assert (await _rest(reader)).startswith(b"HTTP/1.1 408 ")
        assert hall.count("handshakeTime") == 1 and hall.facet.snapshot()["halfOpen"] == 0
        writer.close()


@pytest.mark.every_loop
@each_engine
async def test_what_is_no_tls_is_refused_and_counted(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config) as hall:
        garbage = (b"\x16\x03\x01\x00\x04zzzz", b"\x15")  # is answered by an alert
        for data, answer in [(handshake(), b"HTTP/1.1 400 "), (b"\x00" * 64, b""), garbage]:
            reader, writer = await dial(hall)
            writer.write(data)
            assert (await _rest(reader))[: len(answer)] == answer
            writer.close()
        assert hall.count("handshake") == 3
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(issued.certificate)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with connect(hall, issued, context=old) as client:
            assert await ask(client, "app://echo", 1) == 1
            native: Any = hall.facet.get_all_connections()[0].socket
            assert native.get_extra_info("ssl_object").version() == "TLSv1.2"
        await until(lambda: hall.facet.snapshot()["halfOpen"] == 0)


@pytest.mark.every_loop
@each_engine
async def test_certificates_are_renewed_without_a_restart(
    engine: str, loop_kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = issue(tmp_path)
    trusts_first = first.trusting()
    async with serving(engine, first.config) as hall, connect(hall, first, context=trusts_first) as early:
        second = issue(tmp_path)
        async with connect(hall, first, context=trusts_first):
            pass  # nothing is read until it is asked for
        with caplog.at_level(logging.INFO, "mycelia.websocket"):
            hall.facet.reload_certificates()
        assert "certificates" in caplog.text
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connect(hall, first, context=trusts_first):
                pass
        async with connect(hall, second) as late:
            assert _serial(late) == second.serial and _serial(early) == first.serial
            assert await ask(early, "app://echo", 1) == await ask(late, "app://echo", 1) == 1
        os.replace(issue(tmp_path, "other").key, second.key)
        with pytest.raises(ConfigError, match=r"websocket\.tls\.key: .*do not fit"):
            hall.facet.reload_certificates()
        async with connect(hall, second) as later:
            assert _serial(later) == second.serial
        await until(lambda: hall.facet.get_connection_count() == 1)


@each_engine
async def test_a_context_of_the_applications_own(engine: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.set_alpn_protocols(["http/1.1"])
    async with serving(engine, context) as hall:
        asking = issued.trusting()
        asking.set_alpn_protocols(["h2", "http/1.1"])
        async with connect(hall, issued, context=asking) as client:
            assert client.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            second = issue(tmp_path)
            context.load_cert_chain(second.certificate, second.key)
            async with connect(hall, second) as late:
                assert _serial(late) == second.serial


@pytest.mark.every_loop
@each_engine
async def test_clients_that_must_show_a_certificate(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued, member = issue(tmp_path), issue(tmp_path, "member")
    async with serving(engine, {**issued.config, "clientCa": member.certificate}) as hall:
        with pytest.raises((ssl.SSLError, websockets.InvalidMessage, ConnectionError)):
            async with connect(hall, issued):
                pass
        shows = issued.trusting()
        shows.load_cert_chain(member.certificate, member.key)
        async with connect(hall, issued, context=shows) as client:
            assert await ask(client, "app://echo", 1) == 1
            native: Any = hall.facet.get_all_connections()[0].socket
            assert int(native.get_extra_info("peercert")["serialNumber"], 16) == member.serial
        await until(lambda: hall.count("handshake") == 1)


@pytest.mark.every_loop
@each_engine
async def test_a_slow_reader_over_tls_meets_its_bounds(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config, connection={"outbox_bytes": 256 * 1024}) as hall:
        reader, writer = await asyncio.open_connection("127.0.0.1", hall.port, ssl=issued.trusting(), limit=1024)
        writer.write(handshake())
        assert b"101" in await within(reader.readuntil(b"\r\n\r\n"))
        _pause(writer.transport)
        await until(lambda: hall.facet.get_connection_count() == 1)

        async with asyncio.timeout(8):
            while hall.facet.get_connection_count():
                await hall.facet.broadcast({"event": "x", "data": "y" * 200_000})
        writer.transport.abort()


@pytest.mark.every_loop
@each_engine
async def test_a_cut_connection_over_tls_leaves_nothing(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config) as hall, FaultProxy(("127.0.0.1", hall.port)) as line:
        url = f"wss://localhost:{line.port}/ws"
        reaches = websockets.connect(url, host="127.0.0.1", ssl=issued.trusting(), open_timeout=8, close_timeout=1)
        async with reaches as client:
            assert await ask(client, "app://echo", 1) == 1
            native: Any = hall.facet.get_all_connections()[0].socket
            client.transport.abort()
            await until(lambda: not hall.facet.get_connection_count())
            assert native.is_closing()


@pytest.mark.every_loop
@each_engine
async def test_requests_for_new_keys_count_as_control_frames(engine: str, loop_kind: str, tmp_path: Path) -> None:
    issued = issue(tmp_path)
    limits = {"control_rate": {"max_messages": 50, "window": 3600.0}}
    async with serving(engine, issued.config, limits=limits) as hall:
        heard = asyncio.Event()
        hall.app.register_route("app://heard", heard.set, expose=True)
        with socket.create_connection(("127.0.0.1", hall.port)) as sock:
            sock.settimeout(8)
            shake = partial(Records, issued, tmp_path, sock.sendall, lambda: sock.recv(65536))
            records = await asyncio.get_running_loop().run_in_executor(None, shake)
            sock.sendall(records.data(handshake()))
            for _ in range(40):
                sock.sendall(records.key_update())
            sock.sendall(records.data(mask_frame(Opcode.TEXT, b'{"path":"app://heard"}', b"abcd")))
            await within(heard.wait())
            assert hall.count("controlRate") == 0 and hall.facet.get_connection_count() == 1
            with suppress(ConnectionError):
                sock.sendall(b"".join(records.key_update() for _ in range(5000)))
            await until(lambda: hall.count("controlRate") and not hall.facet.get_connection_count())


@pytest.mark.every_loop
@each_engine
async def test_who_says_close_notify_and_reads_no_more_is_not_waited_for(
    engine: str, loop_kind: str, tmp_path: Path
) -> None:
    issued = issue(tmp_path)
    async with serving(engine, issued.config, connection={"ping_interval": 0}) as hall:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.settimeout(8)
            sock.connect(("127.0.0.1", hall.port))
            shake = partial(Records, issued, tmp_path, sock.sendall, lambda: sock.recv(65536))
            records = await asyncio.get_running_loop().run_in_executor(None, shake)
            sock.sendall(records.data(handshake()))
            await until(lambda: hall.facet.get_connection_count() == 1)
            native: Any = hall.facet.get_all_connections()[0].socket
            async with asyncio.timeout(8):
                while native.get_write_buffer_size() < 100_000:
                    await hall.facet.broadcast({"event": "x", "data": "y" * 200_000})
                    for _ in range(3):
                        await asyncio.sleep(0)
            sock.sendall(records.close_notify())
            await until(lambda: not hall.facet.get_connection_count())


class Nobody:
    """The client of a server that hung up in the TLS handshake."""

    async def send_head(self, data: bytes) -> None: ...

    async def answer(self) -> None: ...

    async def hang_up(self) -> None: ...


@pytest.mark.every_loop
@each_engine
@pytest.mark.parametrize("check", engine_checks(), ids=str)
async def test_the_engine_suite_over_tls(
    check: EngineCheck, engine: str, loop_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issue(tmp_path)
    context = TlsConfig(**issued.config).context()

    def make() -> Any:
        made: Any = load_engine(engine)()
        start = made.start
        made.start = lambda options: start(replace(options, tls=lambda: context))
        return made

    async def dial_over_tls(made: Engine) -> Any:
        address = made.address()
        if address is None:
            raise ConnectionRefusedError("it does not listen")
        try:
            return TcpRawClient(*await asyncio.open_connection(*address, ssl=issued.trusting(), limit=65536))
        except ConnectionResetError:
            return Nobody()

    monkeypatch.setattr("mycelia.testing.engines.harness.connect_raw_client", dial_over_tls)
    await check(make)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            data = await within(reader.read(65536))
        except ConnectionError:
            return b"".join(parts)
        if not data:
            return b"".join(parts)
        parts.append(data)


def _serial(client: Any) -> int:
    return int(client.transport.get_extra_info("peercert")["serialNumber"], 16)


def _pause(transport: Any) -> None:
    pause: Callable[[], None] = transport.pause_reading
    pause()
