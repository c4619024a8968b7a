"""The asgi engine under other people's servers and in other people's frameworks, by a client of others."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.integration.harness import PATIENCE, within

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "tests.integration.asgi_app"
PLAIN = ("uvicorn", "--log-level", "warning")
OURS = {  # with `ws=application.websockets`
    "uvicorn-ours": ("tests.integration.uvicorn_ours", "--http", "h11"),
    "uvicorn-ours-httptools": ("tests.integration.uvicorn_ours", "--http", "httptools"),
}
UVICORN = ("uvicorn", "--factory", "--log-level", "warning", "--ws-max-size", "200000", "--http")
SERVERS: dict[str, tuple[str, ...]] = {
    "uvicorn-websockets": (*UVICORN, "h11", "--ws", "websockets"),
    "uvicorn-sansio": (*UVICORN, "h11", "--ws", "websockets-sansio"),
    "uvicorn-wsproto": (*UVICORN, "h11", "--ws", "wsproto"),
    "uvicorn-httptools": (*UVICORN, "httptools", "--ws", "websockets-sansio"),
    "granian": ("granian", "--interface", "asgi", "--factory", "--log-level", "warning"),
    "hypercorn": ("hypercorn", "--log-level", "warning", "--graceful-timeout", "1"),
}

# How clients left, where a server does not say what they did: a Close with 1000, one with 3333, a hang-up (1006).
TOLD: dict[str, set[int]] = {"hypercorn": {1006}, "granian": {1000, 3333, 1005}}


@asynccontextmanager
async def served(server: str, application: str, port: int) -> AsyncIterator[str]:
    """The URL of a running server; it must end when it is told to, and have complained of nothing."""
    command = [sys.executable, "-m", *{**SERVERS, **OURS}.get(server, PLAIN)]
    target = application if ":" in application else f"{APPLICATION}:{application}"
    if server == "hypercorn":
        command += ["--bind", f"127.0.0.1:{port}", f"{target}()"]
    else:
        command += ["--host", "127.0.0.1", "--port", str(port), target]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    reading = asyncio.create_task(process.communicate())
    try:
        await listening(port, process)
        yield f"ws://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        _, slow = await asyncio.wait({reading}, timeout=PATIENCE)
        if slow:
            process.kill()
        output = (await reading)[0].decode()
    assert not slow, f"did not end when told to\n{output}"
    assert "Traceback" not in output, output


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20.0):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await _moment()
            else:
                writer.close()
                await writer.wait_closed()
                return


async def _moment() -> None:
    """Nothing tells us when another process begins to listen."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, event.set)
    await event.wait()


async def ask(client: ClientConnection, path: str, body: Any = None) -> Any:
    """The data of the answer to a request; events that come before it are dropped."""
    await within(client.send(json.dumps({"path": path, "body": body, "correlationId": "1"})))
    while True:
        answer = json.loads(await within(client.recv()))
        if answer.get("correlationId") == "1":
            assert answer["success"], answer
            return answer["data"]


async def status_of(url: str, **settings: Any) -> tuple[int, bytes]:
    """How a handshake is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, **settings):
            pass
    response = caught.value.response
    return response.status_code, bytes(response.body or b"")


async def closed(client: ClientConnection) -> tuple[int, str]:
    """The server's Close."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while True:
                await client.recv()
    return client.close_code or 1006, client.close_reason or ""


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", SERVERS)
async def test_server(server: str, free_port: int) -> None:
    async with served(server, "root", free_port) as url:
        await _handshakes(url)
        await _messages(url)
        await _closings(server, url)
        await _slow_reader(url)
        await _still_there(url)


async def _handshakes(url: str) -> None:
    status, body = await status_of(f"{url}/elsewhere")
    assert (status, b"the WebSocket is at /ws" in body) == (404, True)
    assert (await status_of(f"{url}/ws", origin="https://evil.example"))[0] == 403
    assert (await status_of(f"{url}/ws", subprotocols=[Subprotocol("nonsense")]))[0] == 400
    offered, origin = [Subprotocol("x"), Subprotocol("chat")], Origin(url.replace("ws:", "http:"))
    async with connect(f"{url}/ws?a=%20", subprotocols=offered, origin=origin) as client:
        assert client.subprotocol == "chat"
        who = await ask(client, "app://who")
    assert who == {"engine": "asgi", "path": "/ws", "remote": "127.0.0.1", "native": "dict"}
    async with connect(f"{url}/ws?refuse=1") as client:
        assert (await closed(client))[0] == 4403


async def _messages(url: str) -> None:
    async with (
        connect(f"{url}/ws", max_size=None) as one,
        connect(f"{url}/ws", subprotocols=[Subprotocol("mycelia.v1.msgpack")]) as two,
    ):
        greeting = await within(two.recv())
        assert isinstance(greeting, bytes) and b"websocket.connected" in greeting
        for body in ("", "grüße 🦊", "x" * 60_000, {"a": [1, None]}):
            assert await ask(one, "app://echo", body) == body
        await one.send([json.dumps({"path": "app://echo", "body": "in "})[:-1], ', "correlationId": "2"}'])
        assert json.loads(await within(one.recv()))["data"] == "in "
        for number in range(200):
            await one.send(json.dumps({"path": "app://echo", "body": number}))
        assert [json.loads(await within(one.recv()))["data"] for _ in range(200)] == list(range(200))
        assert await ask(one, "app://shout", "hello") == 2
        heard = await within(two.recv())
        assert isinstance(heard, bytes) and b"hello" in heard
        await within(await one.ping())


async def _closings(server: str, url: str) -> None:
    async with connect(f"{url}/ws") as client:
        await client.send('{"path": "app://close/4321"}')
        assert await closed(client) == (4321, "as you wish")
    async with connect(f"{url}/ws") as client:
        await client.send("x" * 140_000)
        assert (await closed(client))[0] == 1009
    for code in (1000, 3333):
        async with connect(f"{url}/ws") as client:
            await client.close(code, "bye")
    async with connect(f"{url}/ws") as client:
        await ask(client, "app://echo")
        client.transport.abort()
    wanted = {4321, 4403} | TOLD.get(server, {1000, 3333, 1006})
    async with connect(f"{url}/ws") as client, asyncio.timeout(PATIENCE):
        while not wanted <= {each["code"] for each in await ask(client, "app://told")}:
            await _moment()


async def _slow_reader(url: str) -> None:
    """A client that does not read is closed, and nobody else notices."""
    async with connect(f"{url}/ws", max_queue=1) as slow, connect(f"{url}/ws") as other:
        await slow.send(json.dumps({"path": "app://flood/1000"}))
        async with asyncio.timeout(PATIENCE):
            while {"code": "flooded"} not in await ask(other, "app://told"):
                await _moment()
        slow.transport.abort()


async def _still_there(url: str) -> None:
    async with connect(f"{url}/ws") as client:
        assert await ask(client, "app://echo", "still here") == "still here"


@pytest.mark.time_limit(60)
@pytest.mark.parametrize(("framework", "paths"), [("starlette", "/ws /live/ws"), ("litestar", "/live/ws")])
async def test_framework(framework: str, paths: str, free_port: int) -> None:
    async with served("uvicorn-sansio", framework, free_port) as url:
        for path in paths.split():
            async with connect(f"{url}{path}") as client:
                assert await ask(client, "app://echo", framework) == framework
                assert (await ask(client, "app://who"))["path"] == "/ws"


@pytest.mark.time_limit(60)
@pytest.mark.parametrize(
    ("example", "path", "method"),
    [("examples.fastapi_chat:app", "/live/ws", b"POST"), ("examples.django_chat:application", "/ws", b"GET")],
    ids=["fastapi", "django"],
)
async def test_example(example: str, path: str, method: bytes, free_port: int) -> None:
    async with (
        served("uvicorn-plain", example, free_port) as url,
        connect(f"{url}{path}") as one,
        connect(f"{url}{path}") as two,
    ):
        assert await ask(one, "chat://say", {"text": "hello"}) == {"heard": 2}
        assert json.loads(await within(two.recv())) == {"event": "said", "data": {"text": "hello"}}
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(method + b" /announce/all HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = await within(reader.read())
        writer.close()
        await writer.wait_closed()
        assert b'{"heard":2}' in answer.replace(b" ", b""), answer
        assert json.loads(await within(two.recv())) == {"event": "announced", "data": "all"}


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", ["uvicorn-wsproto", "granian"])
async def test_the_echo_over_the_bare_engine(server: str, free_port: int) -> None:
    async with (
        served(server, "mycelia.testing.asgi:application", free_port) as url,
        connect(f"{url}/any/path", max_size=None) as client,
    ):
        for message in ("", b"", "grüße", b"\xff\x00", "x" * 150_000):
            await within(client.send(message))
            assert await within(client.recv()) == message
