"""The demo, over real sockets: its paths, its page in a real browser, and its process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mycelia.demo import serving
from tests.integration.browser import Browser, Tab, browsing, running
from tests.integration.npm_client import NpmClient
from tests.integration.test_socketio import client as socketio_client
from tests.integration.test_sockjs import client as sockjs_client
from tests.support.parts import NodeClients

MARKUP = "<img src=x onerror=alert(1)>"
HERE = "[...document.querySelectorAll('#people bdi')].map((each) => each.textContent)"
JOINED = "document.getElementById('people').textContent.includes('(you)')"
SAID = "[...document.querySelectorAll('.said p')].map((each) => each.textContent)"
OPEN = "document.getElementById('link').dataset.state === 'open'"


class Client:
    """Sends envelopes and reads whatever comes back, events included."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.events: list[tuple[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            envelope: dict[str, Any] = json.loads(await self._socket.recv())
        if "event" in envelope:
            self.events.append((envelope["event"], envelope["data"]))
        return envelope

    async def ask(self, path: str, body: object = None) -> dict[str, Any]:
        """The response to a request; events that come before it are kept."""
        await self._socket.send(json.dumps({"path": path, "body": body, "correlationId": path}))
        while "success" not in (envelope := await self.next()):
            pass
        assert envelope["correlationId"] == path
        return envelope

    async def leave(self) -> None:
        await self._socket.close()


@asynccontextmanager
async def clients_of(address: str, number: int = 1) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        url = address.replace("http", "ws", 1) + "ws"
        yield [Client(await stack.enter_async_context(connect(url))) for _ in range(number)]


# --- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [None, 0, "", [], {"a": [1.5, None]}, {"success": False}, {"success": True, "data": 1}], ids=repr
)
async def test_echo_returns_its_body(body: object) -> None:
    async with serving(port=0) as address, clients_of(address) as [client]:
        reply = await client.ask("demo://echo", body)
    assert (reply["success"], reply["data"]) == (True, body)


async def test_add_answers_the_sum() -> None:
    async with serving(port=0) as address, clients_of(address) as [client]:
        assert (await client.ask("demo://add", {"a": 2, "b": 40}))["data"] == 42
        assert (await client.ask("demo://add", {"a": -(2**52), "b": -(2**52)}))["data"] == -(2**53)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"a": 2, "b": "40"}, "$.b"),
        ({"a": 2.5, "b": 1}, "$.a"),
        ({"a": 2}, "$"),
        ({"a": 2**52 + 1, "b": 1}, "$.a"),
        ([2, 40], "$"),
        (None, "$"),
    ],
    ids=repr,
)
async def test_add_names_the_place_of_a_fault(body: object, at: str) -> None:
    async with serving(port=0) as address, clients_of(address) as [client]:
        reply = await client.ask("demo://add", body)
    assert (reply["success"], reply["error"]["code"], reply["error"]["details"]["at"]) == (
        False,
        "INVALID_BODY",
        at,
    )


async def test_the_clock_tells_the_time_in_utc() -> None:
    async with serving(port=0) as address, clients_of(address) as [client]:
        assert (await client.ask("demo://clock"))["data"].endswith("+00:00")


async def test_people_come_speak_and_go() -> None:
    async with serving(port=0) as address, clients_of(address, 2) as [ada, bob]:
        assert (await ada.ask("chat://join", {"name": "  Ada \n L. "}))["data"]["name"] == "Ada L."
        joined = await bob.ask("chat://join", {"name": "bob"})
        assert joined["data"] == {"name": "bob", "people": ["Ada L.", "bob"]}
        assert (await bob.ask("chat://say", {"text": "Hi"}))["data"] == {"heardBy": 2}
        await bob.leave()
        while ada.events[-1][0] != "chat.left":
            await ada.next()
        assert (await ada.ask("chat://who"))["data"] == ["Ada L."]
    said = ada.events[2][1]
    assert (said["name"], said["text"]) == ("bob", "Hi")
    assert [*ada.events[:2], ada.events[3]] == [
        ("chat.joined", {"name": "Ada L.", "formerly": None}),
        ("chat.joined", {"name": "bob", "formerly": None}),
        ("chat.left", {"name": "bob"}),
    ]


async def test_every_name_is_unlike_the_others() -> None:
    async with serving(port=0) as address, clients_of(address, 3) as clients:
        names = [(await each.ask("chat://join", {"name": "Ada"}))["data"]["name"] for each in clients]
        assert names == ["Ada", "Ada 2", "Ada 3"]
        again = await clients[0].ask("chat://join", {"name": "ADA"})
        assert again["data"]["people"] == ["ADA", "Ada 2", "Ada 3"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("chat://join", {"name": "x" * 25}, "INVALID_BODY"),
        ("chat://join", {"name": " \t"}, "INVALID_BODY"),
        ("chat://join", {}, "INVALID_BODY"),
        ("chat://say", {"text": ""}, "INVALID_BODY"),
        ("chat://say", {"text": "x" * 1001}, "INVALID_BODY"),
        ("chat://say", {"text": 5}, "INVALID_BODY"),
        ("chat://say", {"name": "Ada", "text": "nobody has joined yet"}, "FORBIDDEN"),
        ("chat://nowhere", None, "NOT_FOUND"),
        ("websocket://broadcast", {"event": "chat.said"}, "NOT_FOUND"),
    ],
)
async def test_what_is_refused_reaches_nobody(path: str, body: object, code: str) -> None:
    async with serving(port=0) as address, clients_of(address) as [client]:
        reply = await client.ask(path, body)
        assert (reply["success"], reply["error"]["code"]) == (False, code)
        assert (await client.ask("chat://who"))["data"] == []
        assert client.events == []


async def test_npm_ws_is_understood(clients: NodeClients) -> None:
    script = """
        const socket = new (require("ws"))(process.argv[1], "mycelia.v1.json");
        socket.on("open", () => socket.send(JSON.stringify({ path: "demo://add", body: { a: 2, b: 40 } })));
        socket.on("message", (text) => {
          const { success, data } = JSON.parse(text);
          if (success) socket.close(), console.log(data);
        });"""
    async with serving(port=0) as address:
        url = address.replace("http", "ws", 1) + "ws"
        process = await asyncio.create_subprocess_exec(clients.node, "-e", script, url, cwd=clients.folder, stdout=PIPE)
        output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"42\n")


# --- HTTP -------------------------------------------------------------------------------------------------


def fetch(url: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), refused.read()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("?from=somewhere", "text/html; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("link.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_the_page_is_served_with_its_policy(path: str, kind: str) -> None:
    async with serving(port=0) as address:
        status, headers, body = await asyncio.get_running_loop().run_in_executor(None, fetch, address + path)
        await asyncio.get_running_loop().shutdown_default_executor()
    assert (status, headers["Content-Type"]) == (200, kind)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in body


@pytest.mark.parametrize("path", ["app.py", "../app.py", "%2e%2e/app.py", "page.html", "favicon.ico"])
async def test_nothing_else_is_served(path: str) -> None:
    async with serving(port=0) as address:
        status, _, _ = await asyncio.get_running_loop().run_in_executor(None, fetch, address + path)
        await asyncio.get_running_loop().shutdown_default_executor()
    assert status == 404


# --- in a browser -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def devtools(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Chromium that all tests of this file share."""
    with running(chromium, tmp_path_factory.mktemp("chromium")) as address:
        yield address


async def arrive(browser: Browser, address: str, name: str) -> Tab:
    """A tab whose page has joined under that name."""
    tab = await browser.open(address)
    await tab.until(f"{OPEN} && {JOINED}")
    await tab.type("#name", name, enter=True)
    await tab.until(f"{HERE}.includes({json.dumps(name)})")
    return tab


async def test_two_tabs_talk_to_each_other(devtools: str) -> None:
    async with serving(port=0) as address, browsing(devtools) as browser:
        ada, bob = await arrive(browser, address, "Ada"), await arrive(browser, address, "Bob")
        await ada.until(f"String({HERE}) === 'Ada,Bob' && document.getElementById('count').textContent === '2'")
        await ada.type("#text", "Hello, Bob!", enter=True)
        await bob.until(f"{SAID}.includes('Hello, Bob!')")
        await bob.type("#text", "Hello, Ada!", enter=True)
        await ada.until(f"String({SAID}) === 'Hello, Bob!,Hello, Ada!'")
        assert await ada.evaluate("document.querySelectorAll('.said.own').length") == 1
        await ada.until("/^[0-9.]+ ms$/.test(document.getElementById('latency').textContent)")
        await bob.close()
        await ada.until(f"String({HERE}) === 'Ada'")
        assert ada.complaints == bob.complaints == []


@pytest.mark.time_limit(60)
async def test_clients_of_other_protocols_see_the_same_chat(
    devtools: str, clients: NodeClients, free_port: int
) -> None:
    async with (
        serving(port=0, beside=free_port) as address,
        browsing(devtools) as browser,
        socketio_client(clients, f"http://127.0.0.1:{free_port}", "polling,websocket") as bob,
        sockjs_client(clients, f"http://127.0.0.1:{free_port}/sockjs", "xhr-streaming") as eve,
    ):
        ada = await arrive(browser, address, "Ada")
        await bob.until("connect")
        assert (await bob.ask("chat://join", {"name": "Bob"}))["data"] == {"name": "Bob", "people": ["Ada", "Bob"]}
        await eve.until("open")
        eve.emit({"path": "chat://join", "body": {"name": "Eve"}, "correlationId": "1"})
        [joined] = await eve.until("answer")
        assert joined["data"]["people"] == ["Ada", "Bob", "Eve"]
        await ada.until(f"String({HERE}) === 'Ada,Bob,Eve'")
        await ada.type("#text", "Hello, both!", enter=True)
        assert (await heard(bob, 1))["text"] == (await heard(eve, 0))["text"] == "Hello, both!"
        assert (await bob.ask("chat://say", {"text": "Hello, Ada!"}))["data"] == {"heardBy": 3}
        eve.emit({"path": "chat://say", "body": {"text": "Hello from Eve!"}, "correlationId": "2"})
        await ada.until(f"String({SAID}) === 'Hello, both!,Hello, Ada!,Hello from Eve!'")
        assert (await heard(bob, 1))["name"] == "Bob" and (await heard(bob, 1))["name"] == "Eve"
        bob.emit("leave")
        await ada.until(f"String({HERE}) === 'Ada,Eve'")
        assert ada.complaints == []


async def heard(client: NpmClient, at: int) -> Any:
    """The next `chat.said` of a client in Node; `at` says where its data are in what that tells."""
    while True:
        told = await client.until("event")
        if at == 1 and told[0] == "chat.said":
            return told[1]
        if at == 0 and told[0]["event"] == "chat.said":
            return told[0]["data"]


async def test_markup_in_names_and_messages_stays_text(devtools: str) -> None:
    name = "<img src=x onerror=a()>"
    async with serving(port=0) as address, browsing(devtools) as browser:
        ada, eve = await arrive(browser, address, "Ada"), await arrive(browser, address, name)
        await eve.type("#text", MARKUP, enter=True)
        await ada.until(f"{SAID}.includes({json.dumps(MARKUP)}) && {HERE}.includes({json.dumps(name)})")
        await eve.evaluate(
            "document.getElementById('envelope').value = JSON.stringify("
            f"{{path: 'demo://echo', body: {json.dumps(MARKUP)}}}), document.getElementById('panel').requestSubmit()"
        )
        await eve.until("document.getElementById('reply').textContent.includes('onerror')")
        for tab in (ada, eve):
            assert await tab.evaluate("document.querySelectorAll('main img').length") == 0
        assert ada.complaints == eve.complaints == []


async def test_envelopes_can_be_sent_by_hand(devtools: str) -> None:
    async def send(envelope: str) -> dict[str, Any]:
        await tab.type("#envelope", envelope)
        await tab.evaluate("document.getElementById('panel').requestSubmit()")
        await tab.until("'success' in document.getElementById('reply').dataset")
        reply: dict[str, Any] = json.loads(await tab.evaluate("document.getElementById('reply').textContent"))
        return reply

    async with serving(port=0) as address, browsing(devtools) as browser:
        tab = await arrive(browser, address, "Ada")
        good = await send('{"path": "demo://add", "body": {"a": 2, "b": 40}, "correlationId": {"any": [1]}}')
        assert (good["data"], good["correlationId"]) == (42, {"any": [1]})
        assert (await send('{"path": 5}'))["error"]["code"] == "INVALID_MESSAGE"
        assert (await send("hello?"))["error"]["code"] == "INVALID_JSON"
        assert (await send('{"path": "demo://add", "body": {}}'))["error"]["code"] == "INVALID_BODY"
        assert (await send('{"path": "chat://say", "body": {"text": "by hand"}}'))["data"] == {"heardBy": 1}
        assert await tab.evaluate(SAID) == ["by hand"]
        examples = await tab.evaluate("document.getElementById('example').length")
        for number in range(examples):
            await tab.evaluate(
                f"(example.selectedIndex = {number}, example.dispatchEvent(new Event('change')),"
                " document.getElementById('panel').requestSubmit())"
            )
            await tab.until("'success' in document.getElementById('reply').dataset")
        assert tab.complaints == []


async def test_the_page_comes_back_when_the_server_does(devtools: str) -> None:
    async with browsing(devtools) as browser:
        async with serving(port=0) as address:
            tab = await arrive(browser, address, "Ada")
        await tab.until("document.getElementById('status').textContent === 'Connection lost'")
        assert await tab.evaluate("document.querySelector('#say button').disabled")
        async with serving(port=urlsplit(address).port or 0):
            await tab.until(f"{OPEN} && String({HERE}) === 'Ada' && !document.querySelector('#say button').disabled")
            await tab.type("#text", "Back again", enter=True)
            await tab.until(f"{SAID}.includes('Back again')")
        # A browser reports every attempt that found nobody; nothing else may be wrong.
        assert [each for each in tab.complaints if "ERR_CONNECTION_REFUSED" not in each] == []


async def test_the_page_stays_away_when_it_is_told_to(devtools: str) -> None:
    script = """import("/link.js").then(({ Link }) => new Promise((done) => {
      class Socket { send() {} close() {} constructor() { sockets.push(this); } }
      const sockets = [], states = [];
      globalThis.WebSocket = Socket;
      const link = new Link("", { opened() {}, changed: (state) => states.push(state) });
      link.connect();
      sockets[0].onopen();
      link.request("demo://echo", 1, 9000).catch((error) => done([states, error.code, sockets.length]));
      sockets[0].onclose({ code: 4403, reason: "not allowed" });
    }))"""
    async with serving(port=0) as address, browsing(devtools) as browser:
        tab = await arrive(browser, address, "Ada")
        assert await tab.evaluate(script) == [["connecting", "open", "refused"], "DISCONNECTED", 1]


# --- the process ------------------------------------------------------------------------------------------


@asynccontextmanager
async def process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mycelia.demo"), env={**os.environ, **environment}, stdout=PIPE, stderr=PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_address_and_stops_when_told_to(sign: signal.Signals) -> None:
    async with process(HOST="127.0.0.1", PORT="0") as running:
        assert running.stdout is not None
        address = (await running.stdout.readline()).decode().split()[1]
        async with clients_of(address) as [client]:
            assert (await client.ask("demo://echo", 1))["data"] == 1
            running.send_signal(sign)
            with pytest.raises(ConnectionClosed) as closed:
                await client.next()
        _, errors = await running.communicate()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert running.returncode == 0
    assert b"Traceback" not in errors


async def test_a_port_in_use_is_one_line() -> None:
    async with serving(port=0) as address:
        port = str(urlsplit(address).port)
        async with process(HOST="127.0.0.1", PORT=port) as running:
            output, errors = await running.communicate()
    assert (running.returncode, output) == (1, b"")
    assert errors.decode().splitlines() == [
        f"cannot listen on 127.0.0.1:{port}: something listens there already. Set HOST or PORT to another one."
    ]


async def test_a_second_port_in_use_is_named() -> None:
    async with serving(port=0) as address:
        port = str(urlsplit(address).port)
        async with process(HOST="127.0.0.1", PORT="0", HTTP_PORT=port) as running:
            _, errors = await running.communicate()
    assert running.returncode == 1
    assert errors.decode().splitlines()[-1] == (
        f"cannot listen on 127.0.0.1:0 and 127.0.0.1:{port}: something listens there already. "
        "Set HOST, PORT or HTTP_PORT to another one."
    )


@pytest.mark.parametrize("port", ["http", "-1", "65536", "²"])
async def test_a_port_that_is_none_is_one_line(port: str) -> None:
    async with process(PORT=port) as running:
        _, errors = await running.communicate()
    assert running.returncode == 1
    assert errors.decode().splitlines() == [f"PORT: expected a whole number from 0 to 65535, got {port!r}"]
