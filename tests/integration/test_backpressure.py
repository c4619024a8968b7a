"""Whatever peers do, what is held for them is bounded, and every place that holds something is known."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.realtime.connection.send_queue import Overflow
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.websocket import WebSocketConnection
from tests.integration.harness import App, Client, each_engine, until, within
from tests.support.links import link_of

OUTBOX = 200_000
ENGINE_BUFFER = 64 * 1024  # what an engine takes before it says that it is full
READ_BYTES = 16 * 1024
TEXT = "x" * 20_000
PACKET = 21_000  # more than one of our packets takes

every_engine = pytest.mark.parametrize("engine", ["picows", "websockets", "memory"])


def app_of(engine: str, **connection: Any) -> App:
    endpoint: dict[str, Any] = {"type": engine, "host": "127.0.0.1", "port": 0}
    if engine == "memory":
        endpoint["options"] = {"socket_bytes": 64 * 1024}
    limits = {"control_rate": None, "abuse": None}
    return App({"websocket": endpoint, "limits": limits, "connection": {"close_timeout": 0.5, **connection}})


@asynccontextmanager
async def stalled(app: App, engine: str) -> AsyncIterator[Callable[[], Coroutine[Any, Any, list[bytes]]]]:
    """A client that reads nothing until it is asked for all that there is."""
    if engine == "memory":
        [serving] = app.facet.engines
        assert isinstance(serving, MemoryEngine)
        socket, _ = await serving.open("ws://localhost/ws")

        async def take() -> list[bytes]:
            found = []
            while (frame := await within(socket.receive())) is not None and frame.opcode != Opcode.CLOSE:
                found.append(frame.payload)
            return found

        yield take
        socket.hang_up()
        return
    async with app.client(receive_buffer=4096) as client:

        async def read() -> list[bytes]:
            found = []
            while (frame := await client.frame()) is not None and frame.opcode != Opcode.CLOSE:
                found.append(frame.payload)
            return found

        yield read


def held(link: Any) -> int:
    """Return the bytes that wait for this client in this process."""
    queue, transport = link._send_queue, link.transport
    return (0 if queue is None else queue.size_bytes) + (0 if transport is None else transport.buffered)


# -- a client that does not read -----------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("overflow", [each for each in Overflow if each is not Overflow.NEVER])
@pytest.mark.parametrize("single", [False, True], ids=["broadcast", "send"])
async def test_an_outbox_is_bounded_in_bytes_and_every_packet_is_accounted_for(
    engine: str, overflow: Overflow, single: bool
) -> None:
    app = app_of(engine, outbox_bytes=OUTBOX)
    written = queued = dropped = 0
    async with app.system, stalled(app, engine) as read:
        connection = app.only()
        link = link_of(connection)
        number = 0
        while dropped < 5 and number < 4000 and connection.is_open:
            event = {"event": "n", "data": [number, TEXT]}
            if single:
                before = link.dropped
                verdict = await connection.send(event, overflow=overflow, key="k")
                written += verdict is None
                queued += verdict is not None and verdict.value == "queued"
                dropped += link.dropped - before
            else:
                result = await app.facet.broadcast(event, overflow=overflow, key="k")
                written, queued, dropped = written + result.written, queued + result.queued, dropped + result.dropped
            number += 1
            assert held(link) <= OUTBOX + ENGINE_BUFFER + PACKET
            await asyncio.sleep(0)
        assert dropped == link.dropped > 0, "the flood was too small to show anything"
        if overflow is Overflow.DISCONNECT:
            assert not connection.is_open and (written + queued + dropped) == number
            return
        newest_goes = overflow in (Overflow.DROP_NEWEST, Overflow.VOLATILE)
        assert not (queued and overflow is Overflow.VOLATILE), "what is volatile never waits"
        if newest_goes:
            assert written + queued + dropped == number
        else:
            assert written + queued == number, "the newest is always taken; it is older ones that go"
        reading = asyncio.create_task(read())
        await until(lambda: link_of(connection).can_write_directly)
        connection.close()
        got = await within(reading)
    if newest_goes:
        assert len(got) == written + queued
    else:
        assert len(got) == number - dropped


@each_engine
async def test_a_stalled_reader_costs_its_outbox_and_the_engines_buffer(engine: str) -> None:
    app = app_of(engine, outbox_bytes=OUTBOX)
    async with app.system, stalled(app, engine):
        connection = app.only()
        for _ in range(5):
            await app.facet.broadcast({"event": "warm", "data": TEXT}, overflow=Overflow.DROP_OLDEST)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            drops = 0
            for number in range(4000):
                result = await app.facet.broadcast({"event": "n", "data": [number, TEXT]}, overflow="drop_oldest")
                await asyncio.sleep(0)
                drops += result.dropped
                if drops > 200:
                    break
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert drops > 200, "the flood was too small to show anything"
        assert held(link_of(connection)) <= OUTBOX + ENGINE_BUFFER + PACKET
        assert grown <= OUTBOX + ENGINE_BUFFER + 2 * PACKET + 64 * 1024, "bookkeeping may take 64 KiB, no more"


@each_engine
async def test_replies_that_nobody_reads_end_the_connection(engine: str) -> None:
    app = app_of(engine, outbox_bytes=OUTBOX)
    app.record("error", "disconnect")
    app.routes.register_route("app://big", lambda: TEXT, expose=True)
    async with app.system, app.client(receive_buffer=4096) as client:
        connection, most = app.only(), 0
        link = link_of(connection)
        frame = mask_frame(Opcode.TEXT, b'{"path":"app://big"}', b"abcd", True, 0)
        while connection.is_open:
            await client.write(frame * 50)
            for _ in range(20):
                await asyncio.sleep(0)
                most = max(most, held(link))
        [body] = await app.heard("error")
        assert body["closeCode"] == 4504
        assert ENGINE_BUFFER < most <= OUTBOX + ENGINE_BUFFER + 64 * 1024 + PACKET  # replies leave 64 KiB at a time
        await app.heard("disconnect")


@each_engine
@pytest.mark.parametrize("reads", [False, True])
async def test_behind_a_fin_comes_what_is_written_for_a_while(engine: str, reads: bool) -> None:
    app = app_of(engine, outbox_bytes=OUTBOX, ping_interval=0, close_timeout=60.0 if reads else 0.2)
    app.record("disconnect")
    async with app.system, app.client(receive_buffer=4096) as client:
        await until(lambda: app.facet.get_connection_count() == 1)
        sent = 0
        while not (outbox := link_of(app.only())._send_queue):
            await app.facet.broadcast({"event": "n", "data": TEXT})
            await asyncio.sleep(0)
            sent += 1
        client.sock.shutdown(socket.SHUT_WR)
        if reads:
            waiting, got = len(outbox), 0
            while await client.frame() is not None:
                got += 1
            assert sent - waiting <= got <= sent and not client.parser.pending
        [body] = await app.heard("disconnect")
        assert body["code"] == 1006


# -- a client that we do not read ----------------------------------------------------------------------------


@each_engine
async def test_a_paused_reader_still_gets_replies_events_and_closes(engine: str) -> None:
    app = app_of(engine, backlog_requests=4, pause_timeout=60.0, ping_interval=0.25, ping_timeout=0.25)
    app.record("error")
    steps: asyncio.Queue[None] = asyncio.Queue()

    @app.routes.route("app://step", expose=True)
    async def step(message: Any, params: Any, options: Any) -> Any:
        await steps.get()
        return message.body

    async with app.system, app.client() as client:
        client.pongs = False  # none would be read
        for number in range(40):
            await client.json({"path": "app://step", "body": number, "correlationId": number})
        connection = app.only()
        await until(lambda: link_of(connection).paused)
        await connection.send({"event": "news"})
        assert (await client.receive())["event"] == "news"
        steps.put_nowait(None)
        assert (await client.receive())["data"] == 0
        assert link_of(connection).paused
        with pytest.raises(TimeoutError):  # for several intervals it is not judged
            await client.closed(seconds=1.5)
        assert client.pings >= 1
        assert connection.is_open and link_of(connection).paused and app.events == []
        connection.close(4000, "enough")
        assert (await client.closed()) == (4000, "enough")
        await client.send_frame(Opcode.CLOSE, (4000).to_bytes(2))
        await until(lambda: app.facet.get_connection_count() == 0)


@each_engine
async def test_a_ping_that_was_read_is_answered_while_requests_wait(engine: str) -> None:
    app = app_of(engine)
    release = asyncio.Event()

    @app.routes.route("app://slow", expose=True)
    async def slow() -> None:
        await release.wait()

    async with app.system, app.client() as client:
        for number in range(10):
            await client.json({"path": "app://slow", "correlationId": number})
        await client.send_frame(Opcode.PING, b"are you there")
        frame = await client.frame()
        assert frame is not None and (frame.opcode, frame.payload) == (Opcode.PONG, b"are you there")
        release.set()
        for number in range(10):
            assert (await client.receive())["correlationId"] == number


# -- everything that holds something -------------------------------------------------------------------------

CONNECTIONS = 6
BACKLOG, CONCURRENT = 8, 3
SHORTEST = 8  # bytes of the shortest message that reaches a backlog

# Set up by the application or by the configuration; no client makes it grow, nor do messages.
FIXED = {
    "Authentication": {"renewed"},
    "BaseSubsystem": {"_adopted", "_attached", "_built_routes", "_facets", "_hooks", "_layers", "_on_dispose"}
    | {"_on_init", "children", "config", "middleware", "registrations"},
    "Decoder": {"_exact"},
    "EngineOptions": {"library"},
    "Certificates": {"_contexts"},  # one for each endpoint with TLS
    "EventCounters": {"_counts"},
    "EventHandlers": {"_handlers"},
    "HandshakeAdmission": {"_codecs", "_codecs_of_engines"},
    "Health": {"_checks"},
    "Listeners": {"_listeners"},
    "Login": {"_cookie_origins"},
    "MessageSystem": {"_started", "_subsystems", "exact", "guards", "middleware"},
    "Proxies": {"_networks"},
    "Router": {"_roots", "_shapes", "exact"},
    "ServerConfig": {"options"},
    "Sink": {"_buffer"},
    "Statistics": {"_sources"},
    "ListeningEngine": {"_servers"},  # one server for each address
    "StreamEngine": {"scratch"},
    "_LibraryReaders": {"_scratch"},
    "TimerWheel": {"_slots"},
    "WebSocketFacet": {"_engines"},
    "WorkerPorts": {"exact"},
    "_Node": {"literals"},
}
# Everything else, with the most that it may hold here. A new queue, table or set of tasks needs a line, and a bound.
BOUNDS: dict[tuple[str, str], int] = {
    ("IdleTimeout", "_tracks"): CONNECTIONS,
    ("PendingRequests", "_claimed"): BACKLOG,
    ("PendingRequests", "_waiting"): BACKLOG,  # requests of the server to one client
    ("FairScheduler", "_waiting"): 2 * CONNECTIONS,  # each worker once, and each compressed peer whose frames wait
    ("ThrottledReader", "_queued"): 64 * 1024 // 6,  # frames of one read; of compressed peers only
    ("ReadScheduler", "_waiting"): CONNECTIONS,  # each connection once
    ("Assembler", "_parts"): 1024 * 1024,
    ("Broadcaster", "_waiting"): 1,  # emptied in every turn; each has a sender that waits for it
    ("Backlog", "entries"): BACKLOG + READ_BYTES // SHORTEST,  # and the rest of the read at which reading paused
    ("ConnectionRegistry", "_all"): CONNECTIONS,
    ("ConnectionRegistry", "_closing_with_requests"): CONNECTIONS,
    ("ConnectionRegistry", "_open"): CONNECTIONS,  # by encoder; and each of these by id
    ("ConnectionRegistry", "_principals"): CONNECTIONS,
    ("ConnectionRegistry", "_reserved"): CONNECTIONS,
    ("Cork", "packets"): 64 * 1024,
    ("CredentialExpiry", "_watched"): CONNECTIONS,
    ("Encoders", "_made"): 2,  # a codec and a kind of framing each
    ("ErrorLog", "_counts"): 20,
    ("ErrorLog", "_records"): 10,
    ("ReceiveBudget", "_holders"): CONNECTIONS,
    ("Lifecycle", "_connecting"): CONNECTIONS,
    ("Lifecycle", "_connected"): CONNECTIONS,
    ("Link", "_held"): BACKLOG + READ_BYTES // SHORTEST,
    ("RateLimiter", "_buckets"): CONNECTIONS + 1,
    ("Responder", "_being_sent"): CONNECTIONS,
    ("SendQueue", "_entries"): 1024 * 1024,  # bounded in bytes, which is checked beside this
    ("StreamEngine", "_half_open"): CONNECTIONS,
    ("StreamEngine", "_open"): CONNECTIONS,
    ("PicowsReaders", "_pool"): 16,
    ("Tally", "_counts"): CONNECTIONS,
    ("TaskOwner", "_tasks"): CONNECTIONS * (2 + CONCURRENT + 1),  # worker, lifecycle, concurrent requests, a response
    ("TimerWheel", "_far"): CONNECTIONS,
    ("TimerWheel", "_turn"): CONNECTIONS,
    ("WebSocketConnection", "_metadata"): 1,  # the application's own
    ("_Frames", "marks"): READ_BYTES // 6,  # of the frames of one read
    ("_LibraryReader", "_scratch"): 64 * 1024,  # one for all, of the engine
    ("_Payloads", "_key"): 4,
    ("_Payloads", "buffer"): 1024 * 1024 + READ_BYTES,  # a frame that has not come whole
    ("Worker", "_beside"): CONCURRENT,
}


def holders(root: object) -> Iterator[tuple[type, str, Any]]:
    """Every collection that an object of ours, reachable from `root`, holds as an attribute."""
    seen: set[int] = set()
    todo: list[object] = [root]
    alive = []  # so that no id is given twice
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        alive.append(thing)
        if isinstance(thing, dict):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            todo += thing
        elif type(thing).__module__.startswith("mycelia.") and not isinstance(thing, type):
            for name in attributes(thing):
                value = getattr(thing, name, None)
                if isinstance(value, dict | list | set | deque | bytearray):
                    yield type(thing), name, value
                todo.append(value)


def attributes(thing: object) -> set[str]:
    names = set(getattr(thing, "__dict__", ()))
    for each in type(thing).__mro__:
        slots = each.__dict__.get("__slots__", ())
        names |= {slots} if isinstance(slots, str) else set(slots)
    return names - {"__weakref__", "__dict__"}


def sizes(app: App) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int], set[str]]:
    """The largest of each known bounded place, the sum of each fixed one, and the places that nobody knows."""
    bounded: dict[tuple[str, str], int] = {}
    fixed: dict[tuple[str, str], int] = {}
    unknown: set[str] = set()
    for kind, name, value in holders(app.facet):
        families = [each.__name__ for each in kind.__mro__]
        if place := next(((family, name) for family in families if (family, name) in BOUNDS), None):
            bounded[place] = max(bounded.get(place, 0), len(value))
        elif place := next(((family, name) for family in families if name in FIXED.get(family, ())), None):
            fixed[place] = fixed.get(place, 0) + len(value)
        else:
            unknown.add(f"{kind.__name__}.{name} ({type(value).__name__} of {len(value)})")
    return bounded, fixed, unknown


@each_engine
async def test_every_queue_table_and_set_of_tasks_is_known_and_bounded(engine: str) -> None:
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    app = App(
        {
            "websocket": endpoint,
            "connection": {
                "max_connections": CONNECTIONS,
                "backlog_requests": BACKLOG,
                "concurrent_requests": CONCURRENT,
                "outbox_bytes": OUTBOX,
                "close_timeout": 0.3,
                "pause_timeout": 0.05,
            },
            "limits": {"control_rate": None, "abuse": None},
            "errors": {"records": 10, "fingerprints": 20},
        }
    )
    release = asyncio.Event()

    @app.routes.route("app://wait", expose=True)
    async def wait() -> None:
        await release.wait()

    @app.routes.route("app://beside", expose=True, concurrent=True)
    async def beside() -> None:
        await release.wait()

    @app.routes.route("app://fail", expose=True)
    async def fail() -> None:
        raise RuntimeError

    @app.routes.route("app://ask", expose=True, concurrent=True)
    async def ask(connection: WebSocketConnection) -> None:
        await connection.request("client://never", timeout=60)

    app.record("connect", "disconnect", "error")
    floods = [
        b'{"path":"app://wait"}',
        b'{"path":"app://beside"}',
        b'{"path":"app://fail"}',
        b'{"path":"app://ask"}',
        b'{"event":"e"}',
        b"not json",
    ]
    seen: dict[tuple[str, str], int] = {}

    def look() -> None:
        bounded, now_fixed, unknown = sizes(app)
        assert not unknown, f"without a bound in this test: {sorted(unknown)}"
        assert now_fixed == fixed, "what no client may make grow has grown"
        beyond = {place: size for place, size in bounded.items() if size > BOUNDS[place]}
        assert not beyond, f"beyond its bound: {beyond}"
        for place, size in bounded.items():
            seen[place] = max(seen.get(place, 0), size)
        for connection in app.facet.get_all_connections():
            queue = link_of(connection)._send_queue
            assert queue is None or queue.size_bytes <= OUTBOX

    async with app.system:
        _, fixed, _ = sizes(app)
        async with AsyncExitStack() as stack:
            clients: list[Client] = []
            for _ in floods:
                clients.append(await stack.enter_async_context(app.client(receive_buffer=4096)))
            for _ in range(12):
                for client, flood in zip(clients, floods, strict=True):
                    data = mask_frame(Opcode.TEXT, flood, b"abcd", True, 0) * 100
                    try:
                        client.sock.send(data)
                    except OSError:
                        continue  # full, or closed for what it did
                for _ in range(3):
                    await app.facet.broadcast({"event": "n", "data": TEXT}, overflow=Overflow.DROP_OLDEST)
                    look()
                for _ in range(10):
                    await asyncio.sleep(0)
                look()
            release.set()
        await until(lambda: app.facet.get_connection_count() == 0)
        await until(lambda: len(app.facet._core.tasks) == 0)
        look()
        assert seen[("Worker", "_beside")] == CONCURRENT and seen[("Backlog", "entries")] >= BACKLOG
        assert seen[("ErrorLog", "_records")] == 10
        left = {place: size for place, size in sizes(app)[0].items() if size}
        assert set(left) <= {("ErrorLog", "_counts"), ("ErrorLog", "_records"), ("Encoders", "_made")} | {
            ("PicowsReaders", "_pool"),
            ("RateLimiter", "_buckets"),
            ("TaskOwner", "_tasks"),
        }, "what belonged to connections is gone with them"
