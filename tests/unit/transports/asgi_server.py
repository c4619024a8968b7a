"""An ASGI server in memory: what it says and is told stands in lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions, UnlimitedAccept
from mycelia.transports.seam import Accept, CanServe, Engine

__all__ = ["HEADERS", "CountingDoor", "Stand", "Visit", "plain_scope", "running", "websocket_scope"]

HEADERS = [
    (b"host", b"h"),
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]


def websocket_scope(path: str = "/ws", **more: Any) -> dict[str, Any]:
    """What a server says of a handshake that is right."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "scheme": "ws",
        "path": path,
        "query_string": b"",
        "headers": HEADERS,
        "client": ("192.0.2.1", 5),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        **more,
    }


def plain_scope(target: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    """What a server says of a plain request."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"h"), *((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items())],
        "client": ("192.0.2.1", 5),
    }


class Visit:
    """One request: `sent` is what the application said. A Close of its own is answered unless `deaf` is set."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.sent: list[dict[str, Any]] = []
        self.broken: Exception | None = None  # what `send` raises
        self.deaf = False
        self.taking = asyncio.Event()  # whether `send` returns
        self.taking.set()
        self.asked = 0  # how many events the application has asked for
        self.task: asyncio.Task[None] | None = None
        self._coming: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()
        self._news = asyncio.Event()

    def say(self, event: dict[str, Any] | Exception) -> None:
        """Something that comes from the client; an exception is raised by `receive`."""
        self._coming.put_nowait(event)

    def text(self, text: str) -> None:
        self.say({"type": "websocket.receive", "text": text})

    def bring(self, body: bytes) -> None:
        """The body of a plain request, in two parts."""
        self.say({"type": "http.request", "body": body[:3], "more_body": True})
        self.say({"type": "http.request", "body": body[3:], "more_body": False})

    def leave(self, code: int | None = 1000, reason: str = "") -> None:
        self.say({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def receive(self) -> Any:
        self.asked += 1
        self._news.set()
        event = await self._coming.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, event: Any) -> None:
        await self.taking.wait()
        if self.broken is not None:
            raise self.broken
        self.sent.append(event)
        self._news.set()
        if event["type"] == "websocket.close" and not self.deaf:
            self.leave(event["code"])

    async def until(self, happened: Callable[[], object]) -> None:
        """Waits until something is true of what was said and asked."""
        while not happened():
            self._news.clear()
            await self._news.wait()

    async def told(self, kind: str) -> dict[str, Any]:
        """The first event of that type that the application says."""
        await self.until(lambda: any(each["type"] == kind for each in self.sent))
        return next(each for each in self.sent if each["type"] == kind)

    @property
    def messages(self) -> list[Any]:
        """What was sent to the client."""
        return [each.get("text", each.get("bytes")) for each in self.sent if each["type"] == "websocket.send"]

    @property
    def headers(self) -> dict[str, str]:
        """Those of the answer to a plain request."""
        [start] = [each for each in self.sent if each["type"] == "http.response.start"]
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def parts(self) -> list[bytes]:
        """What has been sent of the answer's body."""
        return [each["body"] for each in self.sent if each["type"] == "http.response.body"]

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the answer, when it is whole."""
        await self.ended()
        return (await self.told("http.response.start"))["status"], b"".join(self.parts)

    def begin(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        """Calls the application in a task, as servers do."""

        async def run() -> None:
            await application(self.scope, self.receive, self.send)

        if self.scope["type"] == "websocket":
            self.say({"type": "websocket.connect"})
        self.task = asyncio.create_task(run())

    async def ended(self) -> None:
        """Returns when the application has; raises what it raised."""
        assert self.task is not None
        await self.task


class CountingDoor(UnlimitedAccept):
    """Counts who is half open, and lets nobody in once it is shut."""

    def __init__(self) -> None:
        self.inside = 0
        self.shut = False
        self.misreadings: list[int] = []

    def acquire(self, host: str) -> bool:
        self.inside += not self.shut
        return not self.shut

    def release(self, host: str) -> None:
        self.inside -= 1

    def record_bad_request(self, status: int) -> None:
        self.misreadings.append(status)


class _Served(Engine, CanServe, Protocol):
    """An engine behind an ASGI server."""


E = TypeVar("E", bound=_Served)
S = TypeVar("S", bound="Stand[Any]")


class Stand(Generic[E]):
    """An engine whose gate lets everybody in, unless it has another answer."""

    def __init__(self, engine: E) -> None:
        self.engine = engine
        self.door = CountingDoor()
        self.peers: list[RecordingPeer] = []
        self.echo = False
        self.answer: HttpReply | Exception | None = None
        self.requests: list[Handshake] = []
        engine.on("admit", self._admit)

    def accept(self, peer: RecordingPeer, request: Handshake) -> Accept:
        """What the gate says to whom it lets in."""
        return Accept(peer, next(iter(request.subprotocols), None))

    def serve(self, scope: dict[str, Any], path: str | None = None) -> Visit:
        """A request that is being served."""
        visit = Visit(scope)
        visit.begin(lambda scope, receive, send: self.engine.serve(scope, receive, send, path))
        return visit

    def _admit(self, request: Handshake) -> Accept | HttpReply:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        peer = RecordingPeer(request, self.echo)
        self.peers.append(peer)
        return self.accept(peer, request)


@asynccontextmanager
async def running(made: S, **options: Any) -> AsyncIterator[S]:
    """Starts a Stand; leaving it stops the engine: then all peers have been closed once, and nobody is half open."""
    await made.engine.start(EngineOptions(**{"close_timeout": 0.05, "accept_control": made.door, **options}))
    try:
        yield made
    finally:
        await made.engine.stop()
        for peer in made.peers:
            await peer.closed_with()
    for peer in made.peers:
        assert (len(peer.closings), peer.objections) == (1, [])
    assert made.door.inside == 0
