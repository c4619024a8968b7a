"""A running server and clients that misbehave on demand, for the tests of this folder.

`serving` starts a MessageSystem with an `app` subsystem and a WebSocketSubsystem on a free port. `Client` is
a WebSocket client over a bare socket: it reads only when it is asked to, and sends whatever it is told to.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import msgspec
import pytest

from mycelia import BaseSubsystem, MessageSystem
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Frame, FrameParser, Opcode, mask_frame
from mycelia.testing import FaultProxy
from mycelia.websocket import WebSocketConnection, WebSocketFacet, WebSocketSubsystem

__all__ = [
    "ENGINES",
    "FAULT",
    "KEY",
    "PATIENCE",
    "App",
    "Client",
    "each_engine",
    "half_taken",
    "handshake",
    "serving",
    "until",
    "within",
]

ENGINES = ("picows", "websockets")
PATIENCE = 8.0  # seconds after which an event that did not come counts as absent
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

each_engine = pytest.mark.parametrize("engine", ENGINES)

FAULT: ContextVar[Callable[[FaultProxy], object] | None] = ContextVar("FAULT", default=None)
"""What is wrong with the line between `serving` and its clients; None for no proxy at all."""

Value = TypeVar("Value")


async def within(awaitable: Awaitable[Value], seconds: float = PATIENCE) -> Value:
    """The result of `awaitable`; TimeoutError when it takes longer."""
    async with asyncio.timeout(seconds):
        return await awaitable


@contextmanager
def half_taken() -> Iterator[int]:
    """A port free on 127.0.0.1 and taken on ::1: whoever listens on both within must fail and leave neither."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on \[::1\]:{port}: ") as caught:
            yield port
        assert caught.value.errno == errno.EADDRINUSE
        with socket.create_server(("127.0.0.1", port)):
            pass  # nobody listens there any more


async def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Returns as soon as `holds()` is true."""
    async with asyncio.timeout(seconds):
        while not holds():
            look_again = asyncio.Event()
            asyncio.get_running_loop().call_later(0.005, look_again.set)
            await look_again.wait()


class App:
    """The system under test, and what its `connect`, `disconnect` and `error` handlers were told."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.routes = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.line: FaultProxy | None = None  # what clients come through
        self._news = asyncio.Event()

    @property
    def facet(self) -> WebSocketFacet:
        return self.sockets.websocket

    @property
    def port(self) -> int:
        if self.line is not None:
            return self.line.port
        port = self.facet.get_port()
        assert port is not None
        return port

    def only(self) -> WebSocketConnection:
        """The one open connection."""
        [connection] = self.facet.get_all_connections()
        return connection

    def record(self, *events: str) -> None:
        """Keeps what `connect`, `disconnect` or `error` say."""
        for event in events:
            self.sockets.register_route(f"websocket://{event}", self._recorder(event))

    def note(self, event: str, connection_id: str = "", body: dict[str, Any] | None = None) -> None:
        """Adds to what was told, for handlers of the test's own."""
        self.told.append((event, connection_id, body or {}))
        self._news.set()

    async def heard(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The bodies of the first `count` events of that name, once they have come."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [body for name, _, body in self.told if name == event]) < count:
                self._news.clear()
                await self._news.wait()
        return found

    @property
    def events(self) -> list[str]:
        """The names of what was told, in order."""
        return [name for name, _, _ in self.told]

    def _recorder(self, event: str) -> Callable[..., Any]:
        async def handler(message: Any, params: Any, options: Any) -> None:
            self.note(event, options.connection_id, message.body)

        return handler

    @asynccontextmanager
    async def client(self, path: str = "/ws", **settings: Any) -> AsyncIterator[Client]:
        """A client whose handshake is done."""
        async with Client.socket(self.port, settings.pop("receive_buffer", None)) as client:
            await client.upgrade(path, **settings)
            yield client


@asynccontextmanager
async def serving(
    engine: str,
    setup: Callable[[App], object] | None = None,
    *,
    connection: Mapping[str, Any] | None = None,
    routing: Mapping[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[App]:
    """An application that listens; `setup` registers what it needs before that."""
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0, **server}
    # Clients here often owe the answer to a Close; the server need not wait 2 s for each of them.
    limits = {"close_timeout": 0.3, **(connection or {})}
    app = App({"websocket": endpoint, "connection": limits, "routing": routing or {}})

    @app.routes.route("app://echo", expose=True)
    async def echo(message: Any, params: Any, options: Any) -> Any:
        return message.body

    if setup is not None:
        setup(app)
    async with app.system, _through(app):
        yield app
        if not app.facet.is_running():
            return
        async with app.client() as honest:  # whatever happened: the server still answers an honest client
            await honest.json({"path": "app://echo", "body": "still here"})
            while "success" not in (answer := await honest.receive()):
                pass  # a welcome, or a broadcast that is under way
            assert answer["data"] == "still here"


@asynccontextmanager
async def _through(app: App) -> AsyncIterator[None]:
    fault = FAULT.get()
    if fault is None:
        yield
        return
    port = app.facet.get_port()
    assert port is not None
    async with FaultProxy(("127.0.0.1", port)) as app.line:
        fault(app.line)
        yield


def handshake(path: str = "/ws", protocols: Iterable[str] = (), headers: Mapping[str, str] | None = None) -> bytes:
    """The client's half of the opening handshake."""
    lines = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    if offered := ", ".join(protocols):
        lines["Sec-WebSocket-Protocol"] = offered
    lines |= headers or {}
    return (f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode()


class Client:
    """One TCP connection to the server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.parser = FrameParser(masked=False)
        self.frames: list[Frame] = []
        self.ended = False
        self.pongs = True  # whether pings are answered
        self.pings = 0
        self.binary = False

    @classmethod
    @asynccontextmanager
    async def socket(cls, port: int, receive_buffer: int | None = None) -> AsyncIterator[Client]:
        """A client that is connected by TCP only."""
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await within(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port)))
            yield cls(sock)
        finally:
            sock.close()

    # -- bytes -------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        await within(asyncio.get_running_loop().sock_sendall(self.sock, data))

    async def read(self, seconds: float = PATIENCE) -> bytes:
        """Some bytes; b"" when the server is gone, however it went."""
        try:
            return await within(asyncio.get_running_loop().sock_recv(self.sock, 65536), seconds)
        except ConnectionError:
            return b""

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    def reset(self) -> None:
        """Ends with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def leave(self) -> None:
        """Ends without a Close."""
        self.sock.close()

    # -- handshake ---------------------------------------------------------------------------------------

    async def upgrade(self, path: str = "/ws", **settings: Any) -> str:
        """Shakes hands; returns the head of the answer, which must be a 101."""
        await self.write(handshake(path, **settings))
        return await self.upgraded()

    async def upgraded(self) -> str:
        """The head of the answer, which must be a 101."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = await self.read()
            assert more, f"the server hung up after {data!r}"
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.binary = b"mycelia.v1.msgpack" in head
        self.frames += self.parser.feed(rest)
        return head.decode()

    # -- frames ------------------------------------------------------------------------------------------

    async def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        await self.write(mask_frame(opcode, payload, os.urandom(4), fin, rsv))

    async def text(self, payload: str | bytes) -> None:
        await self.send_frame(Opcode.TEXT, payload.encode() if isinstance(payload, str) else payload)

    async def json(self, value: Any) -> None:
        """One message in the codec of this connection."""
        if self.binary:
            await self.send_frame(Opcode.BINARY, msgspec.msgpack.encode(value))
        else:
            await self.text(json.dumps(value))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends Close and waits for the server's."""
        await self.send_frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode())
        await self.closed()

    async def frame(self, seconds: float = PATIENCE) -> Frame | None:
        """The next frame; None when the server is gone."""
        while not self.frames:
            data = await self.read(seconds)
            if not data:
                self.ended = True
                return None
            self.frames += self.parser.feed(data)
        return self.frames.pop(0)

    async def receive(self, seconds: float = PATIENCE) -> Any:
        """The next message, decoded. Pings are answered unless `pongs` is off."""
        while True:
            frame = await self.frame(seconds)
            assert frame is not None, "expected a message, the server hung up"
            assert frame.opcode != Opcode.CLOSE, f"expected a message, got Close {parse_close(frame.payload)}"
            if frame.opcode == Opcode.PING:
                await self._ping(frame)
            elif frame.opcode != Opcode.PONG:
                assert (frame.opcode == Opcode.BINARY) is self.binary
                return (msgspec.msgpack if self.binary else msgspec.json).decode(frame.payload)

    async def messages(self) -> list[Any]:
        """Every message until the server closes."""
        found: list[Any] = []
        while (frame := await self.frame()) is not None and frame.opcode != Opcode.CLOSE:
            if frame.opcode == Opcode.PING:
                await self._ping(frame)
            elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                found.append((msgspec.msgpack if self.binary else msgspec.json).decode(frame.payload))
        return found

    async def request(self, path: str | None, body: Any = None, **rest: Any) -> dict[str, Any]:
        """Sends a request and returns the next message, which must answer it."""
        envelope = {"body": body, "correlationId": os.urandom(4).hex(), **rest}
        if path is not None:
            envelope["path"] = path
        await self.json(envelope)
        answer: dict[str, Any] = await self.receive()
        assert answer.get("correlationId") == envelope["correlationId"], answer
        return answer

    async def closed(self, seconds: float = PATIENCE) -> tuple[int, str]:
        """The server's Close, 1006 when there was none; nothing but pings and pongs may come before it."""
        while (frame := await self.frame(seconds)) is not None:
            if frame.opcode == Opcode.CLOSE:
                return parse_close(frame.payload)
            assert frame.opcode in (Opcode.PING, Opcode.PONG), f"expected Close, got {frame}"
            if frame.opcode == Opcode.PING:
                await self._ping(frame)
        return 1006, ""

    async def _ping(self, frame: Frame) -> None:
        self.pings += 1
        if self.pongs:
            await self.send_frame(Opcode.PONG, frame.payload)
