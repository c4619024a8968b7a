"""A real Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from queue import Queue
from subprocess import DEVNULL, PIPE, Popen
from threading import Thread
from typing import IO, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

__all__ = ["Browser", "Tab", "browsing", "running"]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
PATIENCE = 10.0  # seconds after which what did not happen counts as never happening
# Whatever a page shows changes its document, so nothing has to be asked for again and again.
WAIT = """new Promise((done) => {
  const look = () => (%s) && (observer.disconnect(), done());
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  look();
})"""


class Browser:
    """One context of a running Chromium; replies are matched by their id, events go to the tab of their session."""

    context = ""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a DevTools method; AssertionError for a failure."""
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self._socket.send(json.dumps(command if session is None else {**command, "sessionId": session}))
        async with asyncio.timeout(PATIENCE):
            reply = await answer
        assert "error" not in reply, f"{method}: {reply['error']}"
        result: dict[str, Any] = reply["result"]
        return result

    async def open(self, address: str) -> Tab:
        """A new tab with a loaded page."""
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=self.context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        await tab.go(address)
        return tab

    async def listen(self) -> None:
        """Reads until one side hangs up, which Chromium does without a Close."""
        with suppress(ConnectionClosedError):
            async for text in self._socket:
                message = json.loads(text)
                if "id" in message:
                    self._waiting.pop(message["id"]).set_result(message)
                elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
                    tab.told(message["method"], message["params"])


class Tab:
    """One page. `complaints` holds its exceptions, errors, warnings and policy violations."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.call(method, self._session, **params)

    async def go(self, address: str) -> None:
        """Loads a page."""
        self._loaded.clear()
        await self.call("Page.navigate", url=address)
        async with asyncio.timeout(PATIENCE):
            await self._loaded.wait()

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited; AssertionError when it throws."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        reply = await self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in reply, f"{script}: {reply['exceptionDetails']}"
        return reply["result"].get("value")

    async def until(self, condition: str) -> None:
        """Returns when the document has changed so that the expression is true."""
        try:
            await self.evaluate(WAIT % condition)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"never true: {condition}\n{text}\n{self.complaints}") from None

    async def type(self, selector: str, text: str, *, enter: bool = False) -> None:
        """Replaces a field's text as a person would, by the keyboard."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        await self.call("Input.insertText", text=text)
        if enter:
            key = {"key": "Enter", "windowsVirtualKeyCode": 13}
            await self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def close(self) -> None:
        await self._browser.call("Target.closeTarget", targetId=self._target)

    def told(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['source']}: {params['entry']['text']}")


@contextmanager
def running(chromium: str, profile: Path) -> Iterator[str]:
    """A Chromium that serves many tests; gives the address of its DevTools."""
    with Popen([chromium, *FLAGS, f"--user-data-dir={profile}"], stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE) as process:
        assert process.stderr is not None
        addresses: Queue[str] = Queue()
        # It reads on for as long as Chromium runs: a full pipe would stop it.
        reader = Thread(target=_read, args=(process.stderr, addresses.put))
        reader.start()
        try:
            address = addresses.get(timeout=PATIENCE)
            assert address, "Chromium ended before it listened"
            yield address
        finally:
            process.terminate()
            reader.join()


def _read(output: IO[bytes], tell: Callable[[str], object]) -> None:
    for line in output:
        if line.startswith(b"DevTools listening on "):
            tell(line.decode().removeprefix("DevTools listening on ").strip())
    tell("")


@asynccontextmanager
async def browsing(address: str) -> AsyncIterator[Browser]:
    """A browser that knows nothing of the tests before it, in the Chromium with its DevTools there."""
    async with connect(address, max_size=None, ping_interval=None, compression=None) as socket:
        browser = Browser(socket)
        listening = asyncio.create_task(browser.listen())
        try:
            browser.context = (await browser.call("Target.createBrowserContext"))["browserContextId"]
            yield browser
            await browser.call("Target.disposeBrowserContext", browserContextId=browser.context)
        finally:
            await socket.close()
            await listening
