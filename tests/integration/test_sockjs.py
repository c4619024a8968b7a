"""The sockjs engine under ASGI servers, by the official client of npm, over each transport that it has in node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.integration.browser import browsing, running
from tests.integration.harness import within
from tests.integration.npm_client import NpmClient, npm_client
from tests.integration.sockjs_app import ALLOWED
from tests.integration.test_asgi import ask, served
from tests.integration.test_socketio import client as socketio_client
from tests.support.parts import NodeClients

APPLICATION = "tests.integration.sockjs_app:application"
TRANSPORTS = ("websocket", "xhr-streaming", "xhr-polling", "eventsource")
SCRIPT = """
const SockJS = require("sockjs-client");
const [url, transport] = process.argv.slice(1);
const say = (event, ...values) => console.log(JSON.stringify([event, ...values]));
let socket;
const open = () => {
  socket = new SockJS(url, null, { transports: transport, timeout: 3000 });
  socket.onopen = () => say("open", socket.transport);
  socket.onheartbeat = () => say("heartbeat");
  socket.onclose = ({ code, reason }) => {
    say("close", code, reason);
    if (code !== 1000 && code !== 4403) setTimeout(open, 100);
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    say("event" in message ? "event" : "path" in message ? "request" : "answer", message);
    if (message.path === "client://confirm")
      socket.send(JSON.stringify({ success: true, data: { yes: message.body }, correlationId: message.correlationId }));
  };
};
open();
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [message] = JSON.parse(line);
  if (message === "leave") socket.close(3333, "bye");
  else socket.send(JSON.stringify(message));
}).on("close", () => process.exit());
"""


def client(clients: NodeClients, url: str, transport: str) -> AbstractAsyncContextManager[NpmClient]:
    return npm_client(clients, SCRIPT, url.replace("ws:", "http:"), transport)


async def answer(client: NpmClient, path: str, body: Any = None) -> Any:
    """The response to a request."""
    client.emit({"path": path, "body": body, "correlationId": "1"})
    [found] = await client.until("answer")
    assert found.pop("correlationId") == "1"
    return found


def tell(client: NpmClient, path: str) -> None:
    """A request that nobody answers."""
    client.emit({"path": path, "metadata": {"noReply": True}})


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_official_client(clients: NodeClients, transport: str, free_port: int) -> None:
    async with served("uvicorn-sansio", APPLICATION, free_port) as url, connect(f"{url}/ws") as plain:
        async with client(clients, f"{url}/sockjs?room=1", transport) as one:
            assert await one.until("open") == [transport]
            assert (await answer(one, "app://who"))["data"] == ["sockjs", "/sockjs"]
            assert (await answer(one, "app://nowhere"))["error"]["code"] == "NOT_FOUND"
            strange = "ä\u200c\u2028\ufffe\U0001f600 </script> \u0000\n"
            assert (await answer(one, "app://echo", strange))["data"] == strange
            large = "x" * 50_000
            assert (await answer(one, "app://echo", large))["data"] == large
            assert (await answer(one, "app://bytes"))["data"] == {"data": "AAECAw=="}
            assert (await answer(one, "app://confirm"))["data"] == {"yes": {"sure": True}}
            assert (await answer(one, "app://shout", {"to": "all"}))["data"]["written"] == 2
            assert await one.until("event") == [{"event": "shout", "data": {"to": "all"}}]
            assert json.loads(await within(plain.recv())) == {"event": "shout", "data": {"to": "all"}}
            await one.until("heartbeat")
            tell(one, "app://close/4510")
            assert await one.until("close") == [4510, "as you wish"]
            assert await one.until("open") == [transport]  # by itself
            one.emit("leave")
            assert await one.until("close") == [3333, "bye"]
            assert await one.until("open") == [transport]
        async with client(clients, f"{url}/sockjs?token=wrong", transport) as one:
            await one.until("open")
            assert await one.until("close") == [4403, "not allowed"]
        told = await ask(plain, "app://told")
        assert next(code for code, accepted in told if accepted) == 4510


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_comes_back_after_a_restart(clients: NodeClients, transport: str, free_port: int) -> None:
    async with AsyncExitStack() as stack:
        async with served("uvicorn-sansio", APPLICATION, free_port) as url:
            one = await stack.enter_async_context(client(clients, f"{url}/sockjs", transport))
            await one.until("open")
            tell(one, "app://drain")
            assert (await one.until("close"))[0] == 1012
        async with served("uvicorn-sansio", APPLICATION, free_port):
            await one.until("open")
            assert (await answer(one, "app://echo", "again"))["data"] == "again"
            await stack.aclose()  # uvicorn does not end before its responses have


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", ["granian", "hypercorn", "uvicorn-wsproto", "uvicorn-httptools"])
async def test_other_servers(clients: NodeClients, server: str, free_port: int) -> None:
    async with served(server, APPLICATION, free_port) as url:
        for transport in TRANSPORTS:
            async with client(clients, f"{url}/sockjs", transport) as one:
                assert await one.until("open") == [transport]
                assert (await answer(one, "app://echo", "x" * 10_000))["data"] == "x" * 10_000
                written = (await answer(one, "app://shout", "all"))["data"]["written"]
                assert written in (1, 2)  # whoever left between two polls is not missed yet
                assert await one.until("event") == [{"event": "shout", "data": "all"}]
                tell(one, "app://close/4510")
                assert await one.until("close") == [4510, "as you wish"]
                assert await one.until("open") == [transport]
                one.emit("leave")
                await one.until("close")


@pytest.mark.time_limit(60)
async def test_one_broadcast_reaches_every_kind_of_client(clients: NodeClients, free_port: int) -> None:
    async with served("uvicorn-sansio", APPLICATION, free_port) as url, connect(f"{url}/ws") as plain:
        http = url.replace("ws:", "http:")
        async with (
            client(clients, f"{url}/sockjs", "xhr-streaming") as one,
            socketio_client(clients, http, "polling") as other,
        ):
            await one.until("open")
            await other.until("connect")
            assert (await ask(plain, "app://shout", [1, "ä"]))["written"] == 3
            assert await one.until("event") == [{"event": "shout", "data": [1, "ä"]}]
            assert await other.until("event") == ["shout", [1, "ä"]]


# --- in a browser -----------------------------------------------------------------------------------------

CROSS = ("websocket", "xhr-streaming", "xhr-polling", "jsonp-polling")
IFRAMES = ("iframe-eventsource", "iframe-htmlfile", "iframe-xhr-polling")
TALK = """new Promise((done) => {
  const said = [], strange = "\\u00e4\\u200c\\u2028\\ufffe</script><script>parent.broken = 1</script>";
  const socket = new SockJS(%s, null, { transports: %s, timeout: 4000 });
  const ask = (path, body) => socket.send(JSON.stringify({ path, body, correlationId: path }));
  socket.onopen = () => { said.push(socket.transport); ask("app://echo", strange); };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.event) said.push([message.event, message.data]), socket.send(JSON.stringify(
      { path: "app://close/4510", metadata: { noReply: true } }));
    else if (message.correlationId === "app://echo") said.push(message.data === strange), ask("app://shout", [1]);
  };
  socket.onclose = ({ code, reason }) => done([...said, code, reason, typeof broken]);
})"""


SHOWN = """new Promise((done) => {
  const frame = document.createElement("iframe");
  window.onmessage = () => done(true);  // it greets before it has loaded
  frame.onload = () => setTimeout(() => done(false), 100);
  frame.src = %s;
  document.body.append(frame);
})"""


@pytest.fixture(scope="module")
def devtools(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Chromium that serves the tests of this module."""
    with running(chromium, tmp_path_factory.mktemp("chromium")) as address:
        yield address


def talk(url: str, transport: str) -> str:
    return TALK % (json.dumps(url), json.dumps(transport))


@pytest.mark.time_limit(90)
async def test_every_transport_in_a_browser(clients: NodeClients, devtools: str, free_port: int) -> None:
    async with served("uvicorn-sansio", APPLICATION, free_port) as url, browsing(devtools) as browser:
        http = url.replace("ws:", "http:")
        tab = await browser.open(f"{http}/")
        for transport in (*CROSS, "eventsource", "htmlfile", *IFRAMES):
            told = await tab.evaluate(talk(f"{http}/sockjs", transport))
            assert told == [transport, True, ["shout", [1]], 4510, "as you wish", "undefined"]
        await tab.close()


@pytest.mark.time_limit(90)
async def test_pages_of_other_origins(
    clients: NodeClients, devtools: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED, f"http://localhost:{free_port}")
    async with served("uvicorn-sansio", APPLICATION, free_port) as url, browsing(devtools) as browser:
        here, there = url.replace("ws:", "http:"), f"http://localhost:{free_port}"
        tab = await browser.open(f"{there}/")
        for transport in (*CROSS, *IFRAMES):
            told = await tab.evaluate(talk(f"{here}/sockjs", transport))
            assert told == [transport, True, ["shout", [1]], 4510, "as you wish", "undefined"]
        assert await tab.evaluate(SHOWN % json.dumps(f"{here}/sockjs/iframe.html"))
        await tab.close()
        tab = await browser.open(f"{here}/")  # the other way round nothing is allowed
        for transport in CROSS:
            assert await tab.evaluate(talk(f"{there}/sockjs", transport)) == [
                1002,
                "Cannot connect to server",
                "undefined",
            ]
        assert not await tab.evaluate(SHOWN % json.dumps(f"{there}/sockjs/iframe.html"))
        jsonp = f"(script = document.createElement('script')).src = {json.dumps(f'{there}/sockjs/0/s/jsonp?c=alert')}"
        opened = (
            f"new Promise((done) => {{ {jsonp}; script.onerror = () => done(false); script.onload = () => done(true); "
        )
        assert not await tab.evaluate(f"{opened} document.body.append(script); }})")
        await tab.close()
