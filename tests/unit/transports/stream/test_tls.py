from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mycelia.observability.counters import EventCounters
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.realtime.admission.accept_limiter import AcceptLimiter
from mycelia.realtime.overload.monitor import resident_bytes
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.reader import READ_BYTES
from mycelia.transports.stream.tls import TlsStream
from mycelia.transports.tcp.picows import PicowsEngine
from mycelia.transports.tcp.websockets import WebsocketsEngine
from tests.support.certificates import Issued, issue
from tests.support.records import Records
from tests.unit.transports.support import HEAD, Bench, Stream, bench

each_engine = pytest.mark.parametrize("engine", [PicowsEngine, WebsocketsEngine], ids=lambda engine: engine.name)
KEY = b"\x01\x02\x03\x04"


class Far:
    """The client's end of a TlsStream, over bytes that a test carries to and fro."""

    def __init__(self, stand: Bench, issued: Issued) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self.connection = stand.engine.connect()
        self.stream = Stream()
        self.near = TlsStream(stand.engine, self.connection, context)
        self.stream.protocol = self.near
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = issued.trusting().wrap_bio(self._in, self._out, server_hostname="localhost")
        self.near.connection_made(self.stream)

    def carry(self) -> None:
        """What this end has written goes to the server, what that has written comes here."""
        self.feed(self._out.read())
        self._in.write(self.stream.output)
        self.stream.written.clear()

    def feed(self, data: bytes) -> None:
        while data:
            buffer = memoryview(self.near.get_buffer(-1))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            del buffer
            self.near.buffer_updated(len(piece))

    def ciphertext(self, *parts: bytes) -> bytes:
        """Each part as a record of its own."""
        for part in parts:
            self.tls.write(part)
        return self._out.read()

    def read(self) -> bytes:
        self.carry()
        found = b""
        with suppress(ssl.SSLWantReadError):
            while more := self.tls.read(65536):
                found += more
        return found

    def shake(self) -> None:
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.carry()

    def open(self) -> Any:
        self.shake()
        self.tls.write(HEAD)
        assert self.read().startswith(b"HTTP/1.1 101 ")
        return self.connection.peer


def text(payload: bytes) -> bytes:
    return mask_frame(Opcode.TEXT, payload, KEY)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@each_engine
async def test_a_connection_counts_from_the_accept(engine: type[StreamEngine], tmp_path: Path) -> None:
    door = AcceptLimiter(1, 1, EventCounters())
    async with bench(engine, accept_control=door) as stand:
        far = Far(stand, issue(tmp_path))
        assert len(door) == 1 and far.near.get_extra_info("cipher") is None
        assert Far(stand, issue(tmp_path)).stream.calls == ["abort"]
        far.near.write(b"too early")
        assert not far.stream.written
        far.shake()
        assert len(door) == 1, "its handshake is not done by TLS alone"
        assert far.open() is not None and len(door) == 0
        assert far.near.get_extra_info("peername") == ("192.0.2.1", 5)
        assert far.near.get_extra_info("sslcontext").verify_mode == ssl.CERT_NONE


@each_engine
async def test_records_and_reads_need_not_meet(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer = far.open()
        wire = far.ciphertext(*(text(b"%d" % n)[at : at + 3] for n in range(50) for at in (0, 3, 6)))
        for at in range(len(wire)):
            far.feed(wire[at : at + 1])
        assert [payload for payload, _ in peer.messages] == [b"%d" % n for n in range(50)]
        far.connection.send(b"answer" * 10_000, False)
        assert far.read().endswith(b"answer" * 10_000)


@each_engine
async def test_one_turn_brings_one_read_and_what_waits_is_bounded(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer, message = far.open(), text(b"x" * 1000)
        wire = far.ciphertext(*[message] * 600)
        sent, most = 0, 0
        while len(peer.messages) < 600:
            before = len(peer.messages)
            if far.stream.reading:  # as an event loop does: one read in a turn, while reading is not paused
                buffer = memoryview(far.near.get_buffer(-1))
                piece = wire[sent : sent + len(buffer)]
                buffer[: len(piece)] = piece
                del buffer
                sent += len(piece)
                far.near.buffer_updated(len(piece))
                most = max(most, sent - len(peer.messages) * len(message))
            assert (len(peer.messages) - before) * len(message) <= READ_BYTES + len(message)
            await turns(1)
        assert most < 2 * 64 * 1024 + 600 * 32  # and the records' own bytes
        assert far.stream.reading


@each_engine
async def test_many_tiny_records_rest_as_well(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        far.open()
        far.feed(far.ciphertext(*[text(b"")] * 1000)[:READ_BYTES])
        assert not far.stream.reading
        await turns()
        assert far.stream.reading


@each_engine
async def test_a_paused_connection_is_told_nothing(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer = far.open()
        far.connection.pause()
        assert not far.stream.reading and not far.near.is_reading()
        far.feed(far.ciphertext(text(b"held")))
        await turns()
        assert not peer.messages
        far.connection.resume()
        await turns()
        assert peer.messages == [(b"held", False)] and far.stream.reading


@each_engine
async def test_a_forged_record_ends_the_connection(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer = far.open()
        wire = bytearray(far.ciphertext(text(b"good")) + far.ciphertext(text(b"bad")))
        wire[-1] ^= 1
        far.feed(bytes(wire))
        assert far.stream.calls == ["abort"] and far.stream.written, "expected an alert"
        await turns()
        assert peer.messages in ([], [(b"good", False)]) and peer.closings == [(1006, "")]
        for call in (far.near.abort, far.near.close, far.near.write_eof, far.near.resume_reading):
            call()
        far.near.write(b"too late")
        assert far.near.is_closing() and not far.near.get_extra_info("ssl_object")


@each_engine
async def test_close_notify_is_an_end_and_is_answered(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer = far.open()
        far.tls.write(text(b"last"))
        with pytest.raises(ssl.SSLWantReadError):
            far.tls.unwrap()
        far.carry()
        assert far.stream.calls == ["close"]
        far.tls.unwrap()  # raises unless the server's close_notify has come
        await turns()
        assert peer.messages == [(b"last", False)] and peer.closings == [(1006, "")]


@each_engine
async def test_who_breaks_the_protocol_is_told_and_no_longer_decrypted(
    engine: type[StreamEngine], tmp_path: Path
) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        peer = far.open()
        wire = far.ciphertext(b"\xff\x80\x01\x02\x03\x04", text(b"more"))
        far.feed(wire)
        assert far.stream.calls == ["write_eof"]
        said = far.read()
        assert (said[0], said[2:4]) == (0x88, (1002).to_bytes(2))
        far.feed(b"\x00" * 100_000)
        assert far.stream.calls == ["write_eof"] and not peer.messages


@each_engine
async def test_who_breaks_the_protocol_after_a_pause_is_read_until_it_goes(
    engine: type[StreamEngine], tmp_path: Path
) -> None:
    async with bench(engine) as stand:
        far = Far(stand, issue(tmp_path))
        far.open()
        far.connection.pause()
        far.feed(far.ciphertext(b"\xff\x80\x01\x02\x03\x04"))
        far.connection.resume()
        await turns()
        assert far.stream.calls == ["write_eof"] and far.stream.reading, "unread bytes would reset the Close"


@each_engine
async def test_a_large_message_leaves_no_memory_behind(engine: type[StreamEngine], tmp_path: Path) -> None:
    async with bench(engine) as stand:
        far, size = Far(stand, issue(tmp_path)), 64 * 1024 * 1024
        far.open()
        before = resident_bytes()
        far.near.write(bytes(size))
        assert len(far.stream.output) > size
        far.stream.written.clear()
        assert resident_bytes() - before < size // 2


@each_engine
async def test_new_keys_before_the_request_are_no_request(engine: type[StreamEngine], tmp_path: Path) -> None:
    issued, door = issue(tmp_path), Counting(9, 9)
    async with bench(engine, accept_control=door) as stand:
        far = Far(stand, issued)

        def receive() -> bytes:
            said = far.stream.output
            far.stream.written.clear()
            return said

        records = Records(issued, tmp_path, far.feed, receive)
        far.feed(records.data(HEAD[:20]))
        assert not far.stream.calls
        far.feed(records.key_update() + records.key_update())  # the first is answered with what follows it
        assert far.stream.calls == ["abort"] and door.misreadings == [400]


class Counting(AcceptLimiter):
    """Notes what was misread."""

    def __init__(self, most: int, most_per_address: int) -> None:
        super().__init__(most, most_per_address, EventCounters())
        self.misreadings: list[int] = []

    def record_bad_request(self, status: int) -> None:
        self.misreadings.append(status)
