"""Where an engine is checked: a gate, peers that write down what happens to them, and raw clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mycelia.protocol.http.credentials import choose_subprotocol
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.engines.place import Dial, Place
from mycelia.testing.wire import Wire, dial
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.socket import HeaderLines, request_head
from mycelia.transports.seam import Accept, CanPause, CanPing, Control, Engine, Transport

__all__ = ["EngineStand", "RecordingPeer", "expect", "read_close", "read_message"]

CLOSE_TIMEOUT = 0.2
_SECONDS = 5.0  # for leaving, apart from the check itself: under load a server sees late that a client left
SUBPROTOCOLS = ("chat.v1", "chat.v2")


def expect(what: str, got: object, wanted: object) -> None:
    """Raise AssertionError, saying both, unless they are equal."""
    if got != wanted:
        raise AssertionError(f"{what}: expected {_shown(wanted)}, got {_shown(got)}")


class RecordingPeer:
    """Writes down every call, echoes messages if told to, and objects to calls that must not happen."""

    def __init__(self, request: Handshake, echo: bool) -> None:
        self.request = request
        self.echo = echo
        self.messages: list[tuple[bytes, bool]] = []
        self.controls: list[tuple[Control, bytes]] = []
        self.congestion: list[bool] = []
        self.failures: list[int] = []
        self.leavings = 0
        self.closings: list[tuple[int, str]] = []
        self.objections: list[str] = []
        self.when_received: Callable[[], object] | None = None
        self._transport: Transport | None = None
        self._news = asyncio.Event()

    @property
    def transport(self) -> Transport:
        assert self._transport is not None
        return self._transport

    @property
    def was_opened(self) -> bool:
        return self._transport is not None

    @property
    def pausing(self) -> CanPause | None:
        """The transport, where it can be paused."""
        return self.transport if isinstance(self.transport, CanPause) else None

    @property
    def pinging(self) -> CanPing | None:
        """The transport, where it can ping."""
        return self.transport if isinstance(self.transport, CanPing) else None

    async def until(self, happened: Callable[[], object]) -> None:
        """Waits until something is true of what was written down."""
        while not happened():
            self._news.clear()
            await self._news.wait()

    async def closed_with(self) -> tuple[int, str]:
        """Waits for `closed`, and returns what it said."""
        await self.until(lambda: self.closings)
        return self.closings[0]

    # -- Peer ----------------------------------------------------------------------------------------

    def opened(self, transport: Transport) -> None:
        self._note("opened", first=True)
        self._transport = transport

    def received(self, payload: bytes, binary: bool) -> None:
        self._note("received")
        if type(payload) is not bytes:
            self.objections.append(f"received: expected bytes, got {type(payload).__name__}")
        self.messages.append((payload, binary))
        if self.when_received is not None:
            self.when_received()
        if self.echo:
            self.transport.send(payload, binary)

    def control(self, kind: Control, payload: bytes) -> None:
        self._note("control")
        self.controls.append((kind, payload))

    def congested(self, full: bool) -> None:
        self._note("congested")
        if full is (self.congestion[-1] if self.congestion else False):
            self.objections.append(f"congested({full}) twice in a row")
        self.congestion.append(full)

    def leaving(self) -> None:
        self._note("leaving")
        self.leavings += 1

    def failed(self, code: int, reason: str) -> None:
        self._note("failed")
        self.failures.append(code)

    def closed(self, code: int, reason: str) -> None:
        self._note("closed")
        self.closings.append((code, reason))

    def _note(self, call: str, first: bool = False) -> None:
        if self.closings:
            self.objections.append(f"{call} after closed")
        elif first is not (self._transport is None):
            self.objections.append(f"{call} at a time when it must not be called")
        self._news.set()


class EngineStand:
    """One engine, its gate, and everybody who has connected.

    The gate admits `/ws`, refuses `/forbidden` (403) and `/broken` by raising, and answers 404 elsewhere.
    Leaving stops the engine and checks that every peer was closed exactly once, and that nothing is left.
    """

    def __init__(self, make_engine: Callable[[], Engine], place: Place | None = None) -> None:
        self.engine = make_engine()
        self._place = place
        self._dial: Dial | None = None
        self.engine.on("admit", self._admit)
        self.peers: list[RecordingPeer] = []
        self._echo = False
        self._wires: list[Wire] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, **options: Any) -> None:
        """Starts the engine on a free port of 127.0.0.1 with these `EngineOptions`."""
        await self.engine.start(EngineOptions(**{"close_timeout": CLOSE_TIMEOUT, **options}))
        if self._place is not None and self._dial is None:
            self._dial = await self._place.open(self.engine)

    def can(self, ability: str) -> bool:
        """Whether the engine declares an ability, or has it where it is."""
        there = frozenset() if self._place is None else self._place.capabilities
        return ability in there or ability in self.engine.capabilities

    async def dial(self) -> Wire:
        """A connection without a handshake."""
        wire = await (dial(self.engine) if self._dial is None else self._dial())
        self._wires.append(wire)
        return wire

    async def ask(self, head: bytes) -> tuple[Wire, int]:
        """A connection that has sent this head, and the status of the answer."""
        wire = await self.dial()
        await wire.send_head(head)
        answer = await wire.answer()
        if answer is None:
            raise AssertionError("expected an answer to the handshake, got the end of the connection")
        return wire, answer.status

    async def open(
        self, *, echo: bool = False, headers: HeaderLines = (), subprotocols: Sequence[str] = ()
    ) -> tuple[Wire, RecordingPeer]:
        """An open connection and its peer."""
        self._echo = echo
        wire, status = await self.ask(request_head("ws://127.0.0.1/ws", headers, subprotocols))
        expect("the status of a right handshake", status, 101)
        peer = self.peers[-1]
        await peer.until(lambda: peer.was_opened)  # a server may answer before its engine runs again
        return wire, peer

    async def end_of(self, wire: Wire) -> tuple[int, str]:
        """Reads to the end: the code and reason of the server's Close, 1006 for none.

        A server below an engine that does not close by itself gets the answer that it may wait for.
        """
        return await read_close(wire, answer=not self.can("closing"))

    async def expect_reset(self, wire: Wire) -> None:
        """Reads to the end, which comes without a Close, or with one that says nothing if the engine must send one."""
        code, _ = await self.end_of(wire)
        expect("the end at the client", code in ((1006,) if self.can("reset") else (1000, 1001)), True)

    async def expect_gone(self, peer: RecordingPeer) -> None:
        """Waits for the end of a peer whose client went without a Close."""
        code, reason = await peer.closed_with()
        wanted = (1006,) if self.can("closing") else (1001, 1005, 1006)  # not all know one from the other
        expect("`closed`", (code in wanted, reason), (True, ""))

    async def __aenter__(self) -> EngineStand:
        self._tasks = asyncio.all_tasks()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        async with asyncio.timeout(_SECONDS):
            await self.engine.stop()
            for wire in self._wires:
                await wire.hang_up()
            if self._place is not None and self._dial is not None:
                await self._place.close()
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
                raise RuntimeError("secret of the gate")
            case "/ws":
                peer = RecordingPeer(request, self._echo)
                chosen = choose_subprotocol(request.subprotocols, SUBPROTOCOLS)
                self.peers.append(peer)
                return Accept(peer, chosen, (("X-Engine", "checked"),))
            case _:
                return HttpReply(404, b"nothing here\n")


async def read_close(wire: Wire, *, answer: bool = False) -> tuple[int, str]:
    """Reads up to the server's Close, then to the end; returns its code and reason, 1006 for none."""
    closing = 1006, ""
    ended = False
    while (frame := await wire.receive()) is not None:
        if ended:
            raise AssertionError(f"a frame after Close: {_shown(frame)}")
        if frame.opcode == Opcode.CLOSE:
            closing, ended = parse_close(frame.payload), True
            if answer:
                await wire.send(Opcode.CLOSE, frame.payload)
    return closing


async def read_message(wire: Wire) -> tuple[bytes, bool]:
    """The next message; anything else is an AssertionError."""
    frame = await wire.receive()
    if not isinstance(frame, Frame) or frame.opcode not in (Opcode.TEXT, Opcode.BINARY) or not frame.fin:
        raise AssertionError(f"expected a message, got {_shown(frame)}")
    return frame.payload, frame.opcode == Opcode.BINARY


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
