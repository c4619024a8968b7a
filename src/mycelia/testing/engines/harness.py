"""The test harness of an engine: an `admit` handler, recording peers, and raw clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mycelia.protocol.http.credentials import choose_subprotocol
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.engines.recording_peer import RecordingPeer
from mycelia.testing.engines.server import Connect, EngineServer
from mycelia.testing.raw_client import RawClient, connect_raw_client
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.socket import HeaderLines, request_head
from mycelia.transports.seam import Accept, Engine

__all__ = ["EngineHarness", "expect", "read_close", "read_message"]

CLOSE_TIMEOUT = 0.2
_SECONDS = 5.0  # for the cleanup after a check; under load a server notices late that a client has left
SUBPROTOCOLS = ("chat.v1", "chat.v2")


def expect(what: str, got: object, wanted: object) -> None:
    """Raise AssertionError with both values unless they are equal."""
    if got != wanted:
        raise AssertionError(f"{what}: expected {_shown(wanted)}, got {_shown(got)}")


class EngineHarness:
    """An engine, its `admit` handler, and the clients that have connected.

    The handler accepts `/ws`, answers `/forbidden` with 403, raises for `/broken`, and answers other paths with 404. At
    the end of the `async with` block the harness stops the engine. It then checks that every peer was closed exactly
    once, and that no task is left.

    Args:
        make_engine: The engine class, or a function that makes an engine.
        server: The server that calls an engine which does not listen itself.
    """

    def __init__(self, make_engine: Callable[[], Engine], server: EngineServer | None = None) -> None:
        self.engine = make_engine()
        self._server = server
        self._connect: Connect | None = None
        self.engine.on("admit", self._admit)
        self.peers: list[RecordingPeer] = []
        self._echo = False
        self._clients: list[RawClient] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, **options: Any) -> None:
        """Start the engine on a free port of 127.0.0.1, with these `EngineOptions`."""
        await self.engine.start(EngineOptions(**{"close_timeout": CLOSE_TIMEOUT, **options}))
        if self._server is not None and self._connect is None:
            self._connect = await self._server.open(self.engine)

    def can(self, capability: str) -> bool:
        """Return True if the engine declares a capability, or has it under its server."""
        of_server = frozenset() if self._server is None else self._server.capabilities
        return capability in of_server or capability in self.engine.capabilities

    async def dial(self) -> RawClient:
        """Return a new connection without a handshake."""
        client = await (connect_raw_client(self.engine) if self._connect is None else self._connect())
        self._clients.append(client)
        return client

    async def ask(self, head: bytes) -> tuple[RawClient, int]:
        """Return a connection that has sent a request head, and the status of the response."""
        client = await self.dial()
        await client.send_head(head)
        answer = await client.answer()
        if answer is None:
            raise AssertionError("expected a response to the handshake, got the end of the connection")
        return client, answer.status

    async def open(
        self, *, echo: bool = False, headers: HeaderLines = (), subprotocols: Sequence[str] = ()
    ) -> tuple[RawClient, RecordingPeer]:
        """Return an open connection and its peer."""
        self._echo = echo
        client, status = await self.ask(request_head("ws://127.0.0.1/ws", headers, subprotocols))
        expect("the status of a valid handshake", status, 101)
        peer = self.peers[-1]
        await peer.until(lambda: peer.was_opened)  # a server may answer before its engine runs again
        return client, peer

    async def end_of(self, client: RawClient) -> tuple[int, str]:
        """Read to the end. Return code and reason of the server's Close frame, 1006 if there was none.

        If the engine leaves closing to its server, answer the Close frame, because the server may wait for the answer.
        """
        return await read_close(client, answer=not self.can("closing"))

    async def expect_reset(self, client: RawClient) -> None:
        """Read to the end, and expect no Close frame, or one without information if the server must send one."""
        code, _ = await self.end_of(client)
        expect("the end at the client", code in ((1006,) if self.can("reset") else (1000, 1001)), True)

    async def expect_gone(self, peer: RecordingPeer) -> None:
        """Wait for `closed` of a peer whose client has gone without a Close frame."""
        code, reason = await peer.closed_with()
        wanted = (1006,) if self.can("closing") else (1001, 1005, 1006)  # not every server tells one from the other
        expect("`closed`", (code in wanted, reason), (True, ""))

    async def __aenter__(self) -> EngineHarness:
        self._tasks = asyncio.all_tasks()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        async with asyncio.timeout(_SECONDS):
            await self.engine.stop()
            for client in self._clients:
                await client.hang_up()
            if self._server is not None and self._connect is not None:
                await self._server.close()
        if kind is None:
            for peer in self.peers:
                expect("calls of `closed`", len(peer.closings), 1 if peer.was_opened else 0)
                expect("objections of a peer", peer.objections, [])
            await self._check_tasks()

    async def _check_tasks(self) -> None:
        left = asyncio.all_tasks() - self._tasks
        if left:
            _, left = await asyncio.wait(left, timeout=_SECONDS)
        expect("tasks after stop()", [task.get_name() for task in left], [])

    def _admit(self, request: Handshake) -> Accept | HttpReply:
        match request.path:
            case "/forbidden":
                return HttpReply(403, b"not you\n", (("X-Reason", "none"),))
            case "/broken":
                raise RuntimeError("secret of the handler")
            case "/ws":
                peer = RecordingPeer(request, self._echo)
                chosen = choose_subprotocol(request.subprotocols, SUBPROTOCOLS)
                self.peers.append(peer)
                return Accept(peer, chosen, (("X-Engine", "checked"),))
            case _:
                return HttpReply(404, b"nothing here\n")


async def read_close(client: RawClient, *, answer: bool = False) -> tuple[int, str]:
    """Read to the end. Return code and reason of the server's Close frame, 1006 if there was none."""
    closing = 1006, ""
    ended = False
    while (frame := await client.receive()) is not None:
        if ended:
            raise AssertionError(f"expected no frame after Close, got {_shown(frame)}")
        if frame.opcode == Opcode.CLOSE:
            closing, ended = parse_close(frame.payload), True
            if answer:
                await client.send(Opcode.CLOSE, frame.payload)
    return closing


async def read_message(client: RawClient) -> tuple[bytes, bool]:
    """Return the next message. Raise AssertionError for anything else."""
    frame = await client.receive()
    if not isinstance(frame, Frame) or frame.opcode not in (Opcode.TEXT, Opcode.BINARY) or not frame.fin:
        raise AssertionError(f"expected a message, got {_shown(frame)}")
    return frame.payload, frame.opcode == Opcode.BINARY


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
