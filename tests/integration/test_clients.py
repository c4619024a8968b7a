"""Clients that others wrote: the Python library `websockets` and npm's `ws` talk to both engines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.integration.harness import App, each_engine, serving, within
from tests.support.parts import NodeClients

MIB = 1024 * 1024
SCRIPT = """
const WebSocket = require("ws");
const [port, protocol] = process.argv.slice(1);
const say = (event, value) => console.log(JSON.stringify([event, value]));
const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, protocol ? [protocol] : []);
socket.on("open", () => { say("open", socket.protocol); socket.ping("p"); });
socket.on("pong", (data) => say("pong", data.toString()));
socket.on("message", (data, binary) => say("message", JSON.parse(data)));
socket.on("close", (code, reason) => say("close", [code, reason.toString()]));
socket.on("unexpected-response", (request, response) => { say("refused", response.statusCode); request.destroy(); });
socket.on("error", () => {});
require("readline").createInterface({ input: process.stdin }).on("line", (line) => socket.send(line))
  .on("close", () => process.exit());
"""


def address(app: App) -> str:
    return f"ws://127.0.0.1:{app.port}/ws"


@each_engine
@pytest.mark.every_loop
async def test_the_websockets_library_as_a_client(engine: str) -> None:
    async with serving(engine) as app:
        async with connect(address(app), max_size=None) as client:
            assert client.subprotocol is None
            body = "ä" * (MIB // 3)
            await client.send(json.dumps({"path": "app://echo", "body": body}, ensure_ascii=False))
            assert json.loads(await within(client.recv()))["data"] == body
            fragments = ['{"path":"app://echo",', '"body":', '"cut"}']
            await client.send(fragments)
            assert json.loads(await within(client.recv()))["data"] == "cut"
            await within(await client.ping(b"alive"))
            app.only().close(4410, "removed")
            with pytest.raises(ConnectionClosedError) as closed:
                await within(client.recv())
            assert closed.value.rcvd is not None and closed.value.sent is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4410, "removed")
            assert closed.value.sent.code == 4410
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(app) + "/elsewhere"):
                pass
        assert refused.value.response.status_code == 404


@each_engine
async def test_many_clients_of_the_websockets_library_at_once(engine: str) -> None:
    async def talk(number: int) -> list[Any]:
        async with connect(address(app), subprotocols=["mycelia.v1.json"]) as client:  # type: ignore[list-item]
            hello = json.loads(await client.recv())
            for turn in range(10):
                await client.send(json.dumps({"path": "app://echo", "body": [number, turn]}))
            return [hello["event"], *[json.loads(await client.recv())["data"] for _ in range(10)]]

    async with serving(engine) as app:
        answers = await within(asyncio.gather(*(talk(number) for number in range(50))))
        for number, answer in enumerate(answers):
            assert answer == ["websocket.connected", *[[number, turn] for turn in range(10)]]


class Node:
    """A `ws` client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def said(self) -> list[Any]:
        assert self.process.stdout is not None
        line = await within(self.process.stdout.readline())
        said: list[Any] = json.loads(line)
        return said

    async def send(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        await self.process.stdin.drain()


@each_engine
@pytest.mark.parametrize("protocol", ["", "mycelia.v1.json", "graphql-ws"])
async def test_npm_ws_as_a_client(engine: str, protocol: str, clients: NodeClients) -> None:
    pipe = asyncio.subprocess.PIPE
    async with serving(engine) as app:
        process = await asyncio.create_subprocess_exec(
            clients.node, "-e", SCRIPT, str(app.port), protocol, cwd=clients.folder, stdin=pipe, stdout=pipe
        )
        try:
            await _talk(app, Node(process), protocol)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await within(process.wait())


async def _talk(app: App, node: Node, protocol: str) -> None:
    if protocol == "graphql-ws":
        assert await node.said() == ["refused", 400]
        return
    assert await node.said() == ["open", protocol]
    first = [await node.said() for _ in range(2 if protocol else 1)]
    assert ["pong", "p"] in first
    assert not protocol or "websocket.connected" in [said[1]["event"] for said in first if said[0] == "message"]
    await node.send({"path": "app://echo", "body": {"n": [1, None]}, "correlationId": "c"})
    kind, answer = await node.said()
    assert (kind, answer["data"], answer["correlationId"]) == ("message", {"n": [1, None]}, "c")
    await app.facet.broadcast({"event": "news", "data": "ä"})
    assert await node.said() == ["message", {"event": "news", "data": "ä"}]
    app.only().close(4403, "not allowed")
    assert await node.said() == ["close", [4403, "not allowed"]]
