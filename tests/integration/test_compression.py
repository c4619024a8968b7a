"""permessage-deflate over real sockets: what is agreed on, what goes over the wire, and what is refused."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import websockets

from mycelia import ConfigError, MessageSystem
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.deflate import Inflater
from mycelia.protocol.ws.frames import Frame, Opcode, mask_frame
from mycelia.realtime.inbound.worker import Worker
from mycelia.websocket import Overflow, WebSocketSubsystem
from tests.integration.harness import App, Client, each_engine, handshake, serving, until, within
from tests.integration.test_asgi import listening
from tests.integration.test_asgi_hostile import bomb, peak
from tests.support.links import link_of

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
LIMIT = 1024 * 1024
TAIL = b"\x00\x00\xff\xff"
KEPT: Mapping[str, Any] = {"serverContext": True, "clientContext": True, "thresholdBytes": 0}


class Packer:
    """The client's half, by zlib alone."""

    def __init__(self, context: bool = False) -> None:
        self._context = context
        self._renew()

    def _renew(self) -> None:
        self._out, self._in = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)

    def pack(self, text: str) -> bytes:
        if not self._context:
            self._renew()
        return (self._out.compress(text.encode()) + self._out.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def read(self, frame: Frame) -> Any:
        """The message in a frame, compressed or not."""
        if not frame.rsv:
            return json.loads(frame.payload)
        assert frame.rsv == 4
        if not self._context:
            self._renew()
        return json.loads(self._in.decompress(frame.payload + TAIL))


def echo(body: Any) -> str:
    return json.dumps({"path": "app://echo", "body": body, "correlationId": "k"})


async def frames(client: Client, count: int) -> list[Frame]:
    """The next messages, as frames."""
    found: list[Frame] = []
    while len(found) < count:
        frame = await client.frame()
        assert frame is not None and frame.opcode != Opcode.CLOSE, frame
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            found.append(frame)
    return found


async def closed(client: Client) -> int:
    while (frame := await client.frame()) is not None:
        if frame.opcode == Opcode.CLOSE:
            return parse_close(frame.payload)[0]
    return 1006


@each_engine
@pytest.mark.parametrize("deflate", [True, {}, {"level": 1, "memoryLevel": 1}])
async def test_messages_are_compressed_for_who_offers_it(engine: str, deflate: Any) -> None:
    async with serving(engine, per_message_deflate=deflate) as app, app.client(headers=OFFER) as client:
        packer = Packer()
        for body in ("x" * 5000, "x", "ü" * 600):
            request = packer.pack(echo(body))
            await client.send_frame(Opcode.TEXT, request, rsv=4)
            await client.text(echo(body))  # a message may come as it is all the same
            half = len(request) // 2
            await client.send_frame(Opcode.TEXT, request[:half], fin=False, rsv=4)
            await client.send_frame(Opcode.PING)
            await client.send_frame(Opcode.CONTINUATION, request[half:])
            for frame in await frames(client, 3):
                assert packer.read(frame)["data"] == body
                assert bool(frame.rsv) is (len(body.encode()) > 1000)
                assert len(frame.payload) < 1200


@each_engine
@pytest.mark.parametrize(
    ("settings", "offer", "answer"),
    [
        ({}, None, None),
        ({}, "permessage-deflate", "server_no_context_takeover; client_no_context_takeover"),
        ({}, "x-other; a=b", None),
        ({}, "permessage-deflate; server_max_window_bits=8", None),
        (KEPT, "permessage-deflate", ""),
        (KEPT, "permessage-deflate; server_no_context_takeover", "server_no_context_takeover"),
        ({**KEPT, "serverBits": 10}, "permessage-deflate", "server_max_window_bits=10"),
        (None, "permessage-deflate", None),
    ],
)
async def test_what_the_handshake_agrees_on(engine: str, settings: Any, offer: str | None, answer: str | None) -> None:
    deflate = False if settings is None else {**settings}
    headers = {"Sec-WebSocket-Extensions": offer} if offer else {}
    async with serving(engine, per_message_deflate=deflate) as app, Client.socket(app.port) as client:
        head = await client.upgrade(headers=headers)
        lines = [line for line in head.split("\r\n") if line.lower().startswith("sec-websocket-extensions")]
        said = None if answer is None else "permessage-deflate" + (f"; {answer}" if answer else "")
        assert lines == ([] if said is None else [f"Sec-WebSocket-Extensions: {said}"])
        await client.text(echo("x" * 3000))
        [frame] = await frames(client, 1)
        assert bool(frame.rsv) is (answer is not None)


@each_engine
async def test_an_offer_that_is_no_list_is_400(engine: str) -> None:
    async with serving(engine, per_message_deflate=True) as app, Client.socket(app.port) as client:
        with pytest.raises(AssertionError, match="400"):
            await client.upgrade(headers={"Sec-WebSocket-Extensions": "permessage-deflate; =1"})


@each_engine
async def test_a_broadcast_is_compressed_once_for_all_who_keep_nothing(engine: str) -> None:
    async with (
        serving(engine, per_message_deflate=True) as app,
        app.client(headers=OFFER) as first,
        app.client(headers=OFFER) as second,
        app.client() as plain,
    ):
        await until(lambda: app.facet.get_connection_count() == 3)
        news = {"event": "news", "data": "abc" * 1000}
        assert (await app.facet.broadcast(news)).written == 3
        got = [(await frames(each, 1))[0] for each in (first, second, plain)]
        assert got[0] == got[1] and got[0].rsv == 4 and got[2].rsv == 0
        assert [Packer().read(frame) for frame in got] == [news] * 3


@each_engine
async def test_kept_contexts_make_similar_messages_smaller(engine: str) -> None:
    async with serving(engine, per_message_deflate=KEPT) as app, app.client(headers=OFFER) as client:
        packer, sizes = Packer(context=True), list[int]()
        body = "".join(map(chr, range(32, 127)))
        for number in range(4):
            await client.send_frame(Opcode.TEXT, packer.pack(echo([body, number])), rsv=4)
            [frame] = await frames(client, 1)
            assert packer.read(frame)["data"] == [body, number]
            sizes.append(len(frame.payload))
        assert max(sizes[1:]) < sizes[0] * 0.6


@each_engine
async def test_what_was_dropped_is_not_in_the_context(engine: str) -> None:
    """A slow reader misses messages, and reads all that come after them."""
    async with (
        serving(engine, per_message_deflate=KEPT, connection={"outbox_bytes": 200_000}) as app,
        app.client(headers=OFFER, receive_buffer=4096) as client,
    ):
        await until(lambda: app.facet.get_connection_count() == 1)
        packer, noise = Packer(context=True), "".join(chr(33 + (n * n * 7 + n // 3) % 90) for n in range(30_000))
        dropped = sent = 0
        while dropped < 5:
            data = [sent, noise[sent % 97 :] + str(sent * 7919)]
            result = await app.facet.broadcast({"event": "n", "data": data}, overflow=Overflow.DROP_OLDEST)
            dropped, sent = dropped + result.dropped, sent + 1
        last = -1
        while last < sent - 1:
            [frame] = await frames(client, 1)
            number, text = packer.read(frame)["data"]
            assert number > last and text == noise[number % 97 :] + str(number * 7919)
            last = number


@each_engine
@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_bomb_is_closed_with_1009(engine: str, fragments: int) -> None:
    made = zlib.compressobj(9, wbits=-15)
    packed = b"".join(made.compress(b" " * 100_000) for _ in range(100)) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]
    async with (
        serving(engine, per_message_deflate=True, max_payload=100_000) as app,
        app.client(headers=OFFER) as client,
    ):
        assert len(packed) < 20_000
        step = -(-len(packed) // fragments)
        for at in range(0, len(packed), step):
            piece, fin = packed[at : at + step], at + step >= len(packed)
            await client.send_frame(Opcode.CONTINUATION if at else Opcode.TEXT, piece, fin=fin, rsv=0 if at else 4)
        assert await closed(client) == 1009


@each_engine
@pytest.mark.time_limit(60)
@pytest.mark.parametrize("pieces", [1, 1000])
async def test_a_large_bomb_costs_less_than_two_messages(engine: str, pieces: int, free_port: int) -> None:
    """A gibibyte in a mebibyte, which is the limit: the process grows by less than two of these."""
    packed = bomb(1024)
    assert len(packed) < LIMIT
    arguments = ["--engine", engine, "--deflate", "--max-size", str(LIMIT), "--port", str(free_port)]
    command = [sys.executable, "-m", "mycelia.testing.echo", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        await listening(free_port, process)
        async with Client.socket(free_port) as usual:
            await usual.upgrade(headers=OFFER)
            await usual.send_frame(Opcode.TEXT, Packer().pack("x" * 1000), rsv=4)
            assert await usual.frame() is not None
        before = peak({str(process.pid)})
        async with Client.socket(free_port) as client:
            await client.upgrade(headers=OFFER)
            step = -(-len(packed) // pieces)
            for at in range(0, len(packed), step):
                piece, fin = packed[at : at + step], at + step >= len(packed)
                await client.send_frame(Opcode.CONTINUATION if at else Opcode.TEXT, piece, fin=fin, rsv=0 if at else 4)
            assert await closed(client) == 1009
        assert peak({str(process.pid)}) - before < 1.8 * LIMIT
    finally:
        process.terminate()
        await within(process.wait())


def burst(count: int, size: int, first: int = 0) -> bytes:
    """Compressed requests of `size` bytes each, in one write that is a thousandth of them."""
    texts = (json.dumps({"path": "app://slow", "body": "x" * size, "correlationId": first + n}) for n in range(count))
    return b"".join(mask_frame(Opcode.TEXT, Packer().pack(text), b"abcd", True, 4) for text in texts)


@each_engine
@pytest.mark.parametrize(("count", "size"), [(12, 1_000_000), (60, 15_000)])
async def test_a_small_burst_is_no_large_backlog(engine: str, count: int, size: int) -> None:
    """What a read brings is bounded by what comes out of it, also while reading pauses; and all of it is answered."""
    gate, held = asyncio.Event(), list[int]()

    def setup(app: App) -> None:
        @app.routes.route("app://slow", expose=True)
        async def slow(message: Any, params: Any, options: Any) -> int:
            worker = link_of(app.only()).worker
            assert isinstance(worker, Worker)
            held.append(worker.backlog.size_bytes)
            await gate.wait()
            held.append(worker.backlog.size_bytes)
            return len(message.body)

    async with (
        serving(engine, setup, per_message_deflate=True, connection={"backlog_bytes": 100_000}) as app,
        app.client(headers=OFFER) as client,
    ):
        data = burst(count, size)
        assert len(data) < 16_384
        await client.write(data)
        await until(lambda: held)
        await client.send_frame(Opcode.PING)
        gate.set()
        answers = [json.loads(frame.payload) for frame in await frames(client, count)]
        assert [each["correlationId"] for each in answers] == list(range(count))
        assert {each["data"] for each in answers} == {size}
        assert max(held) < 100_000 + 2 * (size + 100)


@each_engine
async def test_a_small_burst_before_acceptance_is_not_held_inflated(engine: str) -> None:
    gate = asyncio.Event()

    def setup(app: App) -> None:
        @app.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            app.note("connect", options.connection_id)
            await gate.wait()

        @app.routes.route("app://slow", expose=True)
        async def slow(message: Any, params: Any, options: Any) -> int:
            return len(message.body)

    async with serving(engine, setup, per_message_deflate=True) as app, Client.socket(app.port) as client:
        inflated = 0

        def counting(self: Inflater, payload: bytes, most: int) -> bytes:
            nonlocal inflated
            inflated += 1
            return original(self, payload, most)

        original = Inflater.inflate
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Inflater, "inflate", counting)
            await client.write(handshake(headers=OFFER) + burst(12, 1_000_000))
            await app.heard("connect")
            for _ in range(50):
                await asyncio.sleep(0)
            assert inflated <= 2
            gate.set()
            await client.upgraded()
            assert len(await frames(client, 12)) == 12
            assert inflated == 12


def sent(*pieces: tuple[int, bytes, bool, int]) -> Iterable[tuple[int, bytes, bool, int]]:
    return pieces


@each_engine
@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        (sent((1, b"\xff\xff\xff", True, 4)), 1007),
        (sent((1, b"\x07", False, 4), (0, b"", True, 0)), 1007),
        (sent((2, b"\x00", False, 4), (0, b"\x00", True, 4)), 1002),
        (sent((2, b"\x00", False, 0), (0, b"\x00", True, 4)), 1002),
        (sent((9, b"", True, 4)), 1002),
        (sent((8, b"", True, 4)), 1002),
        (sent((1, b"\x00", True, 2)), 1002),
        (sent((1, b"\x00", True, 6)), 1002),
    ],
)
async def test_what_may_not_be_compressed_so(
    engine: str, pieces: Iterable[tuple[int, bytes, bool, int]], code: int
) -> None:
    async with serving(engine, per_message_deflate=True) as app, app.client(headers=OFFER) as client:
        for opcode, payload, fin, rsv in pieces:
            await client.send_frame(opcode, payload, fin=fin, rsv=rsv)
        assert await closed(client) == code


@each_engine
async def test_inflated_text_must_be_utf8(engine: str) -> None:
    made = zlib.compressobj(wbits=-15)
    payload = (made.compress(b"\xff\xfe") + made.flush(zlib.Z_SYNC_FLUSH))[:-4]
    async with serving(engine, per_message_deflate=True) as app, app.client(headers=OFFER) as client:
        await client.send_frame(Opcode.TEXT, payload, rsv=4)
        assert await closed(client) == 1007


@each_engine
@pytest.mark.parametrize("offered", [OFFER, {}])
async def test_without_an_agreement_a_compressed_message_is_1002(engine: str, offered: Mapping[str, str]) -> None:
    async with serving(engine, per_message_deflate=not offered) as app, app.client(headers=offered) as client:
        await client.send_frame(Opcode.TEXT, Packer().pack(echo("x")), rsv=4)
        assert await closed(client) == 1002


@each_engine
@pytest.mark.parametrize("deflate", [True, KEPT])
async def test_an_independent_client_is_understood(engine: str, deflate: Any) -> None:
    async with serving(engine, per_message_deflate=deflate) as app:
        url = f"ws://127.0.0.1:{app.port}/ws"
        async with within_connect(url) as client:
            assert [type(each).__name__ for each in client.protocol.extensions] == ["PerMessageDeflate"]
            for size in (0, 1, 1000, 70_000, 900_000):
                for text in ("a" * size, "äöü€" * (size // 32)):
                    await within(client.send(echo(text)))
                    assert json.loads(await within(client.recv()))["data"] == text


def within_connect(url: str) -> Any:
    return websockets.connect(url, compression="deflate", open_timeout=8, close_timeout=2)


def test_an_engine_that_cannot_compress_says_so() -> None:
    system = MessageSystem("main")
    config = {"websocket": {"type": "memory", "perMessageDeflate": True}}
    with pytest.raises(ConfigError, match="the engine 'memory' cannot compress; picows and websockets can"):
        WebSocketSubsystem("websocket", ms=system, config=config)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"level": 10}, "level"),
        ({"serverBits": 8}, "server_bits"),
        ({"client_bits": 16}, "client_bits"),
        ({"memoryLevel": 0}, "memory_level"),
        ({"thresholdBytes": -1}, "threshold_bytes"),
        ({"speed": 1}, "speed"),
        ("yes", "per_message_deflate"),
    ],
)
@pytest.mark.parametrize("place", ["websocket", "options"])
def test_what_cannot_be_is_named(given: Any, key: str, place: str) -> None:
    server = {"perMessageDeflate": given} if place == "websocket" else {"options": {"perMessageDeflate": given}}
    with pytest.raises(ConfigError, match=key):
        WebSocketSubsystem(config={"websocket": server})
