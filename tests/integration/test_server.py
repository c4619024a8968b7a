"""HTTP over real sockets, under each of the servers, by clients of others: httpx, http.client, curl, websockets,
socket.io-client.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from mycelia import BaseSubsystem, Message, MessageSystem
from mycelia.auth import Identity, TokenAuthenticator
from mycelia.errors import EngineError
from mycelia.server import ServerSubsystem
from mycelia.websocket import WebSocketSubsystem
from tests.integration.harness import until, within
from tests.integration.test_asgi import ROOT, ask, listening, served, status_of
from tests.integration.test_socketio import client as socketio_client
from tests.support.parts import NodeClients

KINDS = ("uvicorn", "uvicorn-httptools", "granian", "hypercorn")
IMPLEMENTATIONS = {"uvicorn": "h11", "uvicorn-httptools": "httptools"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

RAW_PATHS = {
    "/users/%37": 200,
    "/users/a%2Fb": 422,
    "/users/..": 404,
    "/users/%2e%2e": 404,
    "/users/7/": 404,
    "//users/7": 404,
    "/users/%ff": 422,
    "/%75sers/8": 200,
}

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="session", autouse=True)
def runtime_of_granian() -> None:
    """Its runtime makes a pair of sockets once per process, which no single test leaves behind."""

    async def once() -> None:
        async with running("granian"):
            pass

    asyncio.run(once())


class App:
    """The system under test, and what its handlers saw."""

    def __init__(self, kind: str, **config: Any) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        server = {"type": kind.partition("-")[0], **config.pop("server", {})}
        if kind in IMPLEMENTATIONS:
            server["options"] = {"http": IMPLEMENTATIONS[kind], **server.get("options", {})}
        if "unix_socket" not in server:
            server = {"host": "127.0.0.1", "port": 0, **server}
        self.http = ServerSubsystem("server", ms=self.system, config={"server": server, **config})
        self.began, self.ended, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for spec, handler, settings in (
            ("GET /users/{id}", self.get, {}),
            ("POST /echo", lambda body: body, {"status": 201}),
            ("PUT /echo", lambda body: body, {}),
            ("DELETE /gone", lambda: None, {"status": 204}),
            ("GET /fail", self.fail, {}),
            ("GET /wait", self.wait, {}),
            ("GET /large", lambda: "x" * 3_000_000, {}),
            ("GET /me", self.me, {"authenticated": True}),
        ):
            method, _, path = spec.partition(" ")
            target = f"app:/{path}"
            if self.app.match(target) is None:
                self.app.register_route(target, handler)
            self.http.register_mycelia_route(method, path, target, **settings)

    def get(self, id: int, message: Message) -> dict[str, Any]:
        client = message.metadata.client
        return {"id": id, "from": client.remote_address, "engine": client.engine, "secure": client.secure}

    def me(self, message: Message) -> Any:
        principal = message.metadata.principal
        return principal and principal.id

    def fail(self) -> None:
        raise ValueError("a secret")

    async def wait(self) -> str:
        self.began.set()
        try:
            await self.go.wait()
            return "done"
        finally:
            self.ended.set()

    @property
    def url(self) -> str:
        return self.http.server.get_urls()[0]


@asynccontextmanager
async def running(kind: str, **config: Any) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    app = App(kind, **config)
    async with app.system, httpx.AsyncClient(base_url=app.url, timeout=10, trust_env=False) as client:
        yield app, client
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait({task}, timeout=1)
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]


# -- requests ------------------------------------------------------------------------------------------


@each_kind
async def test_requests_and_replies(kind: str) -> None:
    async with running(kind) as (_, client):
        answer = await client.get("/users/7?x=1", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        assert (answer.status_code, answer.headers["x-trace-id"]) == (200, TRACE)
        body = answer.json()
        assert body["data"] == {"id": 7, "from": "127.0.0.1", "engine": kind.partition("-")[0], "secure": False}
        assert (body["success"], body["error"], body["metadata"]["traceId"]) == (True, None, TRACE)
        answer = await client.post("/echo?b=2", json={"a": "grüße 🦊", "b": 1})
        assert (answer.status_code, answer.json()["data"]) == (201, {"a": "grüße 🦊", "b": 1})
        large = "y" * 1_000_000
        assert (await client.put("/echo", json=large)).json()["data"] == large
        assert (await client.put("/echo", content=_chunks(json.dumps(large)), headers=JSON)).json()["data"] == large
        assert len((await client.get("/large")).json()["data"]) == 3_000_000
        assert (await client.head("/large")).content == b""
        answer = await client.get("/fail")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "HANDLER_ERROR")
        assert "secret" not in answer.text
        for method, path, status, code in (
            ("GET", "/nowhere", 404, "NOT_FOUND"),
            ("GET", "/users/x", 422, "INVALID_PATH"),
            ("DELETE", "/echo", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/me", 401, "UNAUTHORIZED"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        answer = await client.post("/echo", content="a=b")
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_DATA")
        answer = await client.post("/echo", content="{", headers=JSON)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_JSON")
        closing = {**JSON, "connection": "close"}  # servers hang up on a body that they do not want to read
        answer = await client.post("/echo", content="x" * 1_100_000, headers=closing)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")
        answer = await client.options("/echo")
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "POST, PUT, OPTIONS", b"")
        many = await asyncio.gather(*(client.put("/echo", json=each) for each in range(50)))
        assert [each.json()["data"] for each in many] == list(range(50))
        for probe in ("health", "ready", "live"):
            assert (await client.get(f"/{probe}")).status_code == 200


JSON = {"content-type": "application/json"}


async def _chunks(text: str) -> AsyncIterator[bytes]:
    data = text.encode()
    for at in range(0, len(data), 70_000):
        yield data[at : at + 70_000]


@each_kind
async def test_paths_as_they_stand(kind: str) -> None:
    """By a client that sends what it is given."""

    def ask_all(port: int) -> list[tuple[int, Any]]:
        answers = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for path in RAW_PATHS:
            connection.request("GET", path)
            response = connection.getresponse()
            answers.append((response.status, json.loads(response.read())["data"]))
        connection.close()
        return answers

    async with running(kind) as (app, _):
        port = app.http.server.get_port()
        assert port is not None
        answers = await asyncio.to_thread(ask_all, port)
    assert [status for status, _ in answers] == list(RAW_PATHS.values())
    assert (answers[0][1]["id"], answers[-1][1]["id"]) == (7, 8)


@each_kind
async def test_no_content_is_none_and_the_connection_goes_on(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def ask_twice(port: int) -> list[tuple[int, bytes]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        answers, used = [], []
        for method, path in (("DELETE", "/gone"), ("GET", "/users/7")):
            connection.request(method, path)
            used.append(connection.sock)
            response = connection.getresponse()
            answers.append((response.status, response.read()))
        connection.close()
        assert used[0] is used[1]
        return answers

    async with running(kind) as (app, _):
        port = app.http.server.get_port()
        assert port is not None
        (deleted, nothing), (found, _) = await asyncio.to_thread(ask_twice, port)
    assert (deleted, nothing, found) == (204, b"", 200)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@each_kind
@pytest.mark.parametrize(("declared", "status"), [(b"100000000", 413), (b"1000000", 408)])
async def test_a_body_that_is_refused_is_not_read_to_its_end(kind: str, declared: bytes, status: int) -> None:
    async with running(kind, limits={"body_timeout": 0.2}) as (app, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", app.http.server.get_port())
        head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %b\r\n\r\n"
        writer.write(head % declared)
        told = (await within(reader.readuntil(b"\r\n\r\n"))).decode().lower()
        assert f" {status} " in told and "\r\nconnection: close\r\n" in told

        async def flow() -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0)

        flowing = asyncio.create_task(flow())
        try:
            with suppress(ConnectionError):
                await within(reader.read())
        finally:
            flowing.cancel()
            await asyncio.wait({flowing})
            writer.transport.abort()


@each_kind
async def test_authentication(kind: str) -> None:
    tokens = TokenAuthenticator(lambda token: Identity("ada") if token == "good" else None)
    async with running(kind, authentication={"authenticator": tokens}) as (_, client):
        assert (await client.get("/me", headers={"authorization": "Bearer good"})).json()["data"] == "ada"
        for headers in ({}, {"authorization": "Bearer bad"}):
            answer = await client.get("/me", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@each_kind
async def test_curl(kind: str, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    assert curl is not None, "curl is missing: install it"
    (tmp_path / "a.txt").write_text("hello world")
    async with running(kind, server={"static": {"/assets": str(tmp_path)}}) as (app, _):

        async def run(*arguments: str) -> str:
            process = await asyncio.create_subprocess_exec(
                curl, "-sS", "--max-time", "10", "--noproxy", "*", *arguments, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await within(process.communicate())
            assert process.returncode == 0
            return output.decode()

        assert json.loads(await run(f"{app.url}/users/7"))["data"]["id"] == 7
        posted = await run(f"{app.url}/echo", "-H", "Content-Type: application/json", "-d", '{"a":1}')
        assert json.loads(posted)["data"] == {"a": 1}
        assert "200" in (await run("-I", f"{app.url}/users/7")).splitlines()[0]
        assert await run("-r", "6-10", f"{app.url}/assets/a.txt") == "world"
        assert '"NOT_FOUND"' in await run("--path-as-is", f"{app.url}/assets/../../etc/passwd")


# -- files ---------------------------------------------------------------------------------------------


@each_kind
async def test_files(kind: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>")
    (tmp_path / "public" / "large.bin").write_bytes(content)
    (tmp_path / "secret").write_text("secret")
    async with running(kind, server={"static": {"/": str(tmp_path / "public")}}) as (app, client):
        assert (await client.get("/")).text == "<p>"
        answer = await client.get("/large.bin")
        assert (answer.content == content, answer.headers["content-length"]) == (True, str(len(content)))
        again = await client.get("/large.bin", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = await client.get("/large.bin", headers={"range": "bytes=-1000"})
        assert (part.status_code, part.content == content[-1000:]) == (206, True)
        assert (await client.get("/large.bin", headers={"range": "bytes=99999999-"})).status_code == 416
        assert (await client.get("/users/7")).json()["data"]["id"] == 7
        assert (await client.head("/large.bin")).headers["content-length"] == str(len(content))
        async with client.stream("GET", "/large.bin") as stream:  # who leaves in the middle harms nobody
            async for _ in stream.aiter_raw():
                break
        await until(lambda: app.http.server.snapshot()["running"] == 0)
        assert (await client.get("/live")).status_code == 200


# -- life ----------------------------------------------------------------------------------------------


@each_kind
async def test_a_client_that_leaves_has_its_handler_cancelled(kind: str) -> None:
    async with running(kind) as (app, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", app.http.server.get_port())
        writer.write(b"GET /wait HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await within(app.began.wait())
        writer.close()
        await within(app.ended.wait())
        await until(lambda: app.http.server.snapshot()["running"] == 0)
        assert (await client.get("/users/7")).status_code == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


@each_kind
async def test_a_drain_and_a_stop_let_requests_finish(kind: str) -> None:
    async with running(kind) as (app, client):
        waiting = asyncio.create_task(client.get("/wait"))
        await within(app.began.wait())
        draining = asyncio.create_task(app.system.drain(5))
        await until(lambda: not app.http.server.is_accepting())
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/live")).status_code == 200
        late = await client.get("/users/7")
        assert (late.status_code, late.json()["error"]["code"]) == (503, "OVERLOADED")
        app.go.set()
        assert (await within(waiting)).json()["data"] == "done"
        await within(draining)
        port = app.http.server.get_port()
        await app.http.server.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


@each_kind
async def test_a_stop_cancels_who_takes_too_long(kind: str) -> None:
    async with running(kind, limits={"close_timeout": 0.2}) as (app, client):
        waiting = asyncio.create_task(client.get("/wait"))
        await within(app.began.wait())
        await within(app.http.server.stop())
        answer = await within(waiting)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "CANCELLED")
        assert app.ended.is_set()


@each_kind
async def test_it_starts_again_and_a_taken_port_is_an_os_error(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        app = App(kind, server={"port": taken})
        await app.app.build()
        await app.http.build()
        for _ in range(2):
            with pytest.raises(OSError):
                await app.http.server.start()
            assert not app.http.server.is_running() and app.http.server.get_port() is None
    await app.http.server.start()
    assert app.http.server.get_address() == ("127.0.0.1", taken)
    async with httpx.AsyncClient(base_url=app.url, trust_env=False) as client:
        assert (await client.get("/users/1")).status_code == 200
    await app.http.server.stop()
    await app.http.server.start()
    async with httpx.AsyncClient(base_url=app.url, trust_env=False) as client:
        assert (await client.get("/users/2")).status_code == 200
    await app.http.dispose()


@each_kind
async def test_who_connects_and_says_nothing_keeps_nobody_out(kind: str) -> None:
    async with running(kind) as (app, client):
        port = app.http.server.get_port()
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        try:
            assert (await within(client.get("/live"))).status_code == 200
        finally:
            for _, writer in silent:
                writer.transport.abort()


@each_kind
async def test_loggers_stay_as_they_were_and_say_nothing_of_strangers(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = list(logging.getLogger().handlers)
    async with running(kind) as (app, client):
        assert logging.getLogger().handlers == root
        reader, writer = await asyncio.open_connection("127.0.0.1", app.http.server.get_port())
        writer.write(b"\x16\x03\x01nonsense secret\r\n\r\n")
        await within(reader.read())
        writer.close()
        assert (
            await client.get("/users/7?token=secret", headers={"authorization": "Bearer secret"})
        ).status_code == 200
    assert "secret" not in caplog.text


@each_kind
async def test_options_of_the_library_do_not_say_what_the_configuration_says(kind: str) -> None:
    ours = {"granian": "ssl_cert", "hypercorn": "certfile"}.get(kind, "ssl_certfile")
    app = App(kind, server={"options": {ours: "a.pem"}})
    with pytest.raises(EngineError, match=f"{ours}.*tls"):
        async with app.system:
            pass


# -- one port ------------------------------------------------------------------------------------------


@each_kind
async def test_http_and_sockets_on_one_port(kind: str, clients: NodeClients) -> None:
    """A request over HTTP reaches a plain WebSocket and the official Socket.IO client, all on one port."""
    app = App(kind, limits={"close_timeout": 1})
    endpoints = [
        {"type": "asgi", "path": "/ws"},
        {"type": "socketio", "path": "/socket.io"},
        {"type": "sockjs", "path": "/sockjs"},
    ]
    config = {"websocket": endpoints, "connection": {"close_timeout": 0.3}}
    sockets = WebSocketSubsystem("websocket", ms=app.system, config=config)

    async def announce(body: Any) -> int:
        result = await sockets.websocket.broadcast({"event": "news", "data": body["text"]})
        return int(result.written)

    app.app.register_route("app://announce", announce)
    app.app.register_route("app://said", lambda body: body, expose=True)
    app.http.register_mycelia_route("POST", "/announce", "app://announce")
    async with app.system, httpx.AsyncClient(base_url=app.url, trust_env=False) as client:
        web = app.url.replace("http", "ws")
        async with (
            connect(f"{web}/ws") as plain,
            socketio_client(clients, app.url, "polling,websocket") as other,
        ):
            await other.until("connect")
            await other.until("upgrade")
            assert await ask(plain, "app://said", "hello") == "hello"
            answer = await client.post("/announce", json={"text": "all"})
            assert answer.json()["data"] == 2
            assert json.loads(await within(plain.recv())) == {"event": "news", "data": "all"}
            assert await other.until("event") == ["news", "all"]
            assert (await client.get("/users/7")).json()["data"]["id"] == 7
            opened = await client.get("/socket.io/?EIO=4&transport=polling")
            assert opened.status_code == 200 and opened.text.startswith('0{"sid":')
            assert (await client.get("/sockjs/info")).json()["websocket"] is True
            assert (await client.post("/sockjs/000/abc/xhr")).text == "o\n"
            async with connect(f"{web}/sockjs/000/def/websocket") as framed:
                assert await within(framed.recv()) == "o"
                await framed.send(json.dumps([json.dumps({"path": "app://said", "body": 1})]))
                told = str(await within(framed.recv()))
                assert json.loads(json.loads(told[1:])[0])["data"] == 1
        assert (await status_of(f"{web}/elsewhere"))[0] in (403, 404)
        assert (await client.get("/ws")).status_code == 426


# -- somebody else's server ----------------------------------------------------------------------------


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", ["uvicorn-sansio", "uvicorn-httptools", "granian", "hypercorn"])
async def test_under_a_server_of_ones_own(server: str, free_port: int) -> None:
    target = "tests.integration.server_app:application"
    async with served(server, target, free_port) as url, httpx.AsyncClient(trust_env=False) as client:
        base = url.replace("ws", "http")
        answer = await client.get(f"{base}/users/7")
        assert answer.json()["data"] == {"id": "7", "engine": "asgi", "port": None}
        assert (await client.get(f"{base}/ready")).status_code == 200
        async with connect(f"{url}/ws") as socket_:
            assert await ask(socket_, "app://echo", "hi") == "hi"


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("own", [True, False], ids=["by itself", "uvicorn"])
async def test_the_example(own: bool, free_port: int) -> None:
    base, web = f"http://127.0.0.1:{free_port}", f"ws://127.0.0.1:{free_port}"
    how = by_itself(free_port) if own else served("uvicorn-plain", "examples.one_port:application", free_port)
    async with how, httpx.AsyncClient(base_url=base, trust_env=False) as client, connect(f"{web}/ws") as plain:
        answer = await client.post("/notices", json={"text": "hello"})
        assert (answer.status_code, answer.json()["data"]) == (201, {"number": 1, "heard": 1})
        assert json.loads(await within(plain.recv())) == {"event": "pinned", "data": {"text": "hello"}}
        assert await ask(plain, "board://list") == ["hello"]
        assert (await client.get("/notices/1")).json()["data"] == {"text": "hello"}
        assert (await client.get("/notices/2")).status_code == 404
        assert (await client.get("/socket.io/?EIO=4&transport=polling")).text.startswith("0{")


@asynccontextmanager
async def by_itself(port: int) -> AsyncIterator[None]:
    """The example as a program; it must end when it is told to, and have complained of nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-m", "examples.one_port",
        cwd=ROOT, env={**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        await listening(port, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        output, _ = await within(process.communicate())
    assert process.returncode == 0 and b"Traceback" not in output, output.decode()
