"""The socketio engine under uvicorn, by the official client of npm, over each of its transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.integration.harness import within
from tests.integration.test_asgi import ask, served
from tests.support.parts import NodeClients

SCRIPT = """
const { io } = require("socket.io-client");
const [url, transports, auth] = process.argv.slice(1);
const say = (event, ...values) => console.log(JSON.stringify([event, ...values]));
const plain = (value) => JSON.parse(JSON.stringify(value, (key, each) =>
  each && each.type === "Buffer" ? { hex: Buffer.from(each.data).toString("hex") } : each));
const socket = io(url, { transports: transports.split(","), auth: JSON.parse(auth), reconnectionDelay: 50 });
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
  else await socket.timeout(5000).emitWithAck(path, given)
    .then((answer) => say("ack", ...plain([answer])), (error) => say("unanswered", error.message));
}).on("close", () => process.exit());
"""


class Client:
    """The official client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._passed: list[list[Any]] = []

    async def until(self, event: str) -> list[Any]:
        """What comes with the next event of that name; others wait."""
        for passed in self._passed:
            if passed[0] == event:
                self._passed.remove(passed)
                return passed[1:]
        assert self._process.stdout is not None
        while line := await within(self._process.stdout.readline()):
            said: list[Any] = json.loads(line)
            if said[0] == event:
                return said[1:]
            self._passed.append(said)
        pytest.fail(f"the client ended without {event}")

    def emit(self, *values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values).encode() + b"\n")

    async def ask(self, path: str, body: Any = None, attachment: str = "") -> Any:
        """The ack of an event."""
        self.emit(path, body, attachment)
        [answer] = await self.until("ack")
        return answer


@asynccontextmanager
async def client(clients: NodeClients, url: str, transports: str, auth: Any = None) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        clients.node, "--eval", SCRIPT, url, transports, json.dumps(auth or {}), cwd=clients.folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
async def test_the_official_client(clients: NodeClients, transports: str, free_port: int) -> None:
    async with served("uvicorn-websockets", "socketio", free_port) as url:
        http = url.replace("ws:", "http:")
        async with client(clients, http, transports, {"token": "abc"}) as one, connect(f"{url}/ws") as plain:
            sid, transport = await one.until("connect")
            assert transport == transports.split(",")[0]
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
