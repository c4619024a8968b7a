"""The socketio engine under uvicorn, by the official client of npm, over each of its transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import connect

from tests.integration.browser import browsing, running
from tests.integration.harness import within
from tests.integration.npm_client import NpmClient, npm_client
from tests.integration.test_asgi import ask, served
from tests.support.parts import NodeClients

UVICORNS = ("uvicorn-websockets", "uvicorn-httptools", "uvicorn-ours", "uvicorn-ours-httptools")
SCRIPT = """
const { io } = require("socket.io-client");
const [url, transports, auth] = process.argv.slice(1);
const say = (event, ...values) => console.log(JSON.stringify([event, ...values]));
const plain = (value) => JSON.parse(JSON.stringify(value, (key, each) =>
  each && each.type === "Buffer" ? { hex: Buffer.from(each.data).toString("hex") } : each));
const socket = io(url, { transports: transports.split(","), auth: JSON.parse(auth), reconnectionDelay: 50 });
// The client drops what is volatile while a POST of its own is on its way, as that of a pong may be at any time.
const whenWritable = (send) => socket.io.engine.transport.writable ? send() : setTimeout(whenWritable, 5, send);
socket.on("connect", () => say("connect", socket.id, socket.io.engine.transport.name));
socket.on("connect_error", (error) => say("refused", error.message, error.data ?? null));
socket.on("disconnect", (reason) => say("disconnect", reason, socket.active));
socket.io.on("open", () => socket.io.engine.on("upgrade", (transport) => say("upgrade", transport.name)));
socket.onAny((name, ...values) => { if (typeof values.at(-1) !== "function") say("event", name, ...plain(values)); });
socket.on("client://confirm", (body, ack) => ack({ success: true, data: { yes: body } }));
require("readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  const [path, body, bytes] = JSON.parse(line);
  const given = bytes ? { data: Buffer.from(bytes, "hex") } : body;
  if (path === "leave") socket.disconnect();
  else if (path === "volatile") whenWritable(() => socket.volatile.emit("app://volatile", body));
  else await socket.timeout(5000).emitWithAck(path, given)
    .then((answer) => say("ack", ...plain([answer])), (error) => say("unanswered", error.message));
}).on("close", () => process.exit());
"""


def client(clients: NodeClients, url: str, transports: str, auth: Any = None) -> AbstractAsyncContextManager[NpmClient]:
    return npm_client(clients, SCRIPT, url, transports, json.dumps(auth or {}))


@pytest.mark.parametrize("server", UVICORNS)
async def test_acks_of_every_length(server: str, free_port: int) -> None:
    """Around the lengths at which frames get longer headers (RFC 6455 §5.2), and where short ways end."""
    async with (
        served(server, "socketio", free_port) as url,
        connect(f"{url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        assert str(await within(socket.recv())).startswith("0")
        await socket.send("40")
        assert str(await within(socket.recv())).startswith("40")
        for id_, length in enumerate([0, 1, *range(880, 910), 65_300, 65_536, 70_000]):
            body = "x" * length
            await socket.send(f'42{id_}["app://echo","{body}"]')
            while (packet := str(await within(socket.recv()))) == "2":
                await socket.send("3")
            assert packet.startswith(f"43{id_}[") and json.loads(packet[packet.index("[") :])[0]["data"] == body


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", UVICORNS)
@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
async def test_the_official_client(clients: NodeClients, server: str, transports: str, free_port: int) -> None:
    async with served(server, "socketio", free_port) as url:
        http = url.replace("ws:", "http:")
        async with client(clients, http, transports, {"token": "abc"}) as one, connect(f"{url}/ws") as plain:
            sid, transport = await one.until("connect")
            assert transport in transports.split(",")  # the move may be over by then
            if "," in transports:
                assert await one.until("upgrade") == ["websocket"]
            assert (await one.ask("app://who"))["data"] == ["socketio", sid]
            assert (await one.ask("app://nowhere"))["error"]["code"] == "NOT_FOUND"
            whole = await one.ask("message", {"path": "app://echo", "body": "ä", "correlationId": "c"})
            assert (whole["data"], whole["correlationId"]) == ("ä", "c")
            assert (await one.ask("app://double", None, "00ff"))["data"] == {"data": {"hex": "00ff00ff"}}
            assert (await one.ask("app://confirm"))["data"] == {"yes": {"sure": True}}
            assert (await one.ask("app://shout", {"to": "all"}))["data"]["written"] == 2
            assert await one.until("event") == ["shout", {"to": "all"}]
            assert json.loads(await within(plain.recv())) == {"event": "shout", "data": {"to": "all"}}
            assert await ask(plain, "app://shout", "back") == {"written": 2, "queued": 0, "dropped": 0}
            assert await one.until("event") == ["shout", "back"]
            assert (await one.ask("app://blob", None, "beef"))["data"] == {
                "type": "bytes",
                "data": [{"hex": "00"}, {"hex": "be"}],
            }
            failed = (await one.ask("app://fail"))["error"]
            assert (failed["code"], failed["message"]) == ("HANDLER_ERROR", "not today")
            assert (await one.ask("app://impatient"))["data"] == "too late"
            assert (await one.ask("app://volatile", [1, 2]))["data"] == [2, 0]
            assert await one.until("event") == ["cursor", [1, 2]]
            assert json.loads(await within(plain.recv()))["event"] == "cursor"
            one.emit("volatile", "mine")
            assert await one.until("event") == ["cursor", "mine"]
            assert json.loads(await within(plain.recv()))["data"] == "mine"
            assert (await one.ask("app://burst/40"))["data"] == 40
            assert [await one.until("event") for _ in range(40)] == [["burst", number] for number in range(40)]
            large = "x" * 50_000
            assert (await one.ask("app://echo", large))["data"] == large
            one.emit("app://close/1012")
            assert (await one.until("disconnect"))[1] is True
            assert (await one.until("connect"))[0] != sid  # by itself
            one.emit("app://close/4403")
            assert await one.until("disconnect") == ["io server disconnect", False]


async def test_namespaces_and_refusals(clients: NodeClients, free_port: int) -> None:
    async with served("uvicorn-websockets", "socketio", free_port) as url:
        http = url.replace("ws:", "http:")
        async with client(clients, f"{http}/admin", "websocket") as one:
            await one.until("connect")
            assert (await one.ask("app://echo", 1))["data"] == 1
            one.emit("leave")
            assert await one.until("disconnect") == ["io client disconnect", False]
        for path, auth, problem in (
            ("/nowhere", {}, ["Invalid namespace", {"status": 404}]),
            ("", {"token": "wrong"}, ["not allowed", {"code": 4403}]),
        ):
            async with client(clients, http + path, "polling", auth) as one:
                assert await one.until("refused") == problem


@pytest.mark.time_limit(60)
@pytest.mark.parametrize(
    ("name", "transports"),
    [("uvicorn-websockets", "polling"), ("uvicorn-websockets", "websocket"), ("uvicorn-ours", "websocket")],
)
async def test_clients_come_back_after_a_restart(
    clients: NodeClients, name: str, transports: str, free_port: int
) -> None:
    server = served(name, "socketio", free_port)
    url = await server.__aenter__()
    async with client(clients, url.replace("ws:", "http:"), transports) as one:
        sid = (await one.until("connect"))[0]
        assert (await one.ask("app://echo", 1))["data"] == 1
        await server.__aexit__(None, None, None)
        assert (await one.until("disconnect"))[1] is True
        async with served(name, "socketio", free_port):
            assert (await one.until("connect"))[0] != sid
            assert (await one.ask("app://echo", 2))["data"] == 2
            one.emit("leave")
            await one.until("disconnect")


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", ["granian", "hypercorn"])
async def test_other_servers(clients: NodeClients, server: str, free_port: int) -> None:
    async with served(server, "socketio", free_port) as url:
        for transports in ("polling", "websocket", "polling,websocket"):
            async with client(clients, url.replace("ws:", "http:"), transports, {"token": "abc"}) as one:
                await one.until("connect")
                if "," in transports:
                    assert await one.until("upgrade") == ["websocket"]
                assert (await one.ask("app://double", None, "00ff"))["data"] == {"data": {"hex": "00ff00ff"}}
                assert (await one.ask("app://confirm"))["data"] == {"yes": {"sure": True}}
                assert (await one.ask("app://burst/20"))["data"] == 20
                one.emit("leave")
                await one.until("disconnect")


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_the_python_client(transports: list[str], free_port: int) -> None:
    """It throws away a response of more than 16 packets."""
    async with served("uvicorn-ours", "socketio", free_port) as url:
        client, admin = socketio.AsyncClient(reconnection=False), "/admin"
        came: list[int] = []
        full = asyncio.Event()

        def burst(number: int) -> None:
            came.append(number)
            if len(came) == 100:
                full.set()

        client.on("burst", burst)
        client.on("client://confirm", lambda body: {"success": True, "data": body})
        address = url.replace("ws:", "http:")
        await within(client.connect(address, transports=transports, namespaces=["/", admin], auth={"token": "abc"}))
        try:
            assert (await within(client.call("app://burst/100")))["data"] == 100
            await within(full.wait())
            assert came == list(range(100))
            assert (await within(client.call("app://confirm")))["data"] == {"sure": True}
            assert (await within(client.call("app://double", {"data": b"\x00\xff"})))["data"] == {
                "data": b"\x00\xff" * 2
            }
            assert (await within(client.call("app://echo", 3, namespace=admin)))["data"] == 3
        finally:
            await within(client.disconnect())
            await within(client.shutdown())


# -- in a browser ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def devtools(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Chromium."""
    with running(chromium, tmp_path_factory.mktemp("chromium")) as address:
        yield address


@asynccontextmanager
async def pages(clients: NodeClients) -> AsyncIterator[str]:
    """An origin with a page that has the client's bundle for browsers."""
    bundle = (clients.folder / "node_modules/socket.io-client/dist/socket.io.min.js").read_bytes()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        script = head.startswith(b"GET /socket.io.js ")
        body = bundle if script else b"<!doctype html><link rel=icon href=data:,><script src=/socket.io.js></script>"
        kind = b"text/javascript" if script else b"text/html"
        length = str(len(body)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + kind)
        writer.write(b"\r\nContent-Length: " + length + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


PAGE = """new Promise((done, fail) => {
  const socket = io(%s, {transports: %s, withCredentials: %s, reconnection: false, auth: {token: "abc"}});
  socket.on("connect_error", (error) => done("refused: " + error.message));
  socket.on("connect", async () => {
    const { engine } = socket.io;
    const moved = %s && engine.transport.name === "polling" ? new Promise((next) => engine.on("upgrade", next)) : null;
    const heard = new Promise((next) => socket.on("shout", next));
    const answer = await socket.emitWithAck("app://double", {data: new Uint8Array([0, 255])});
    await socket.emitWithAck("app://shout", "to all");
    await moved;
    const bytes = [...new Uint8Array(answer.data.data)];
    const all = [bytes, await heard, socket.io.engine.transport.name];
    socket.disconnect();
    done(JSON.stringify(all));
  });
})"""


@pytest.mark.time_limit(90)
async def test_a_page_of_another_origin_in_a_browser(
    devtools: str, clients: NodeClients, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pages(clients) as listed, pages(clients) as foreign:
        monkeypatch.setenv("ORIGINS", listed)
        async with served("uvicorn-websockets", "socketio", free_port) as url, browsing(devtools) as browser:
            address = json.dumps(url.replace("ws:", "http:"))
            tab = await browser.open(listed)
            for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
                for cookies in ("true", "false"):
                    upgrade = "true" if len(transports) > 1 else "false"
                    said = await tab.evaluate(PAGE % (address, json.dumps(transports), cookies, upgrade))
                    assert json.loads(said) == [[0, 255, 0, 255], "to all", transports[-1]]
            assert tab.complaints == []
            tab = await browser.open(foreign)
            for transports, problem in ((["polling"], "xhr poll error"), (["websocket"], "websocket error")):
                said = await tab.evaluate(PAGE % (address, json.dumps(transports), "false", "false"))
                assert said == f"refused: {problem}"
