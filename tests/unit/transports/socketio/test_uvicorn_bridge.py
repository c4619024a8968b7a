"""What uvicorn is given for WebSockets, on a transport in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions, UnlimitedAccept
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.engine import SocketioEngine
from mycelia.transports.socketio.uvicorn_bridge import ProtocolSwitch, UvicornBridge

HEAD = (
    b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Pipe(asyncio.Transport):
    """Keeps what is written; tells its protocol of the end in the next turn, as transports do."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None
        self.reading, self.over, self.encrypted = True, False, False

    def write(self, data: Any) -> None:
        self.written += data

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_reading(self) -> bool:
        return self.reading

    def is_closing(self) -> bool:
        return self.over

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "sslcontext" and self.encrypted else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        if not self.over:
            self.over = True
            asyncio.get_running_loop().call_soon(lambda: self.protocol.connection_lost(None))

    close = abort


async def begin(
    find: Callable[[str], UvicornBridge | None], known: set[Any], encrypted: bool = False, query: bytes = b""
) -> tuple[ProtocolSwitch, Pipe]:
    """What uvicorn does with the head of an upgrade."""
    switch, pipe = ProtocolSwitch(find, {"server_state": SimpleNamespace(connections=known)}), Pipe()
    pipe.encrypted = encrypted
    switch.connection_made(pipe)
    switch.data_received(HEAD.replace(b"EIO=4", b"EIO=4" + query))
    pipe.set_protocol(switch)
    return switch, pipe


async def test_a_websocket_of_ours_is_handed_over() -> None:
    bridge, peers, asked, known = UvicornBridge(), list[RecordingPeer](), list[str](), set[Any]()

    def admit(request: Any) -> Accept:
        peers.append(RecordingPeer(request, echo=True))
        return Accept(peers[-1])

    def find(path: str) -> UvicornBridge:
        asked.append(path)
        return bridge

    bridge.on("admit", admit)
    await bridge.start(EngineOptions(close_timeout=0.05))
    assert bridge.address() is None
    switch, pipe = await begin(find, known)
    assert pipe.written.startswith(b"HTTP/1.1 101 ") and asked == ["/socket.io/"] and known == {switch}
    switch.data_received(b"\x81\x82\0\0\0\0hi")  # in the same turn
    await asyncio.sleep(0)
    assert peers[0].messages == [(b"hi", False)] and pipe.written.endswith(b"\x81\x02hi")
    assert pipe.protocol is not switch and pipe.reading
    switch.shutdown()
    assert pipe.written.endswith(b"\x88\x02\x03\xf4")  # 1012
    pipe.abort()
    assert (await peers[0].closed_with())[0] == 1006
    assert known == set()
    await bridge.stop()


async def test_a_paused_one_and_one_that_is_gone_at_once_stay_as_they_are() -> None:
    bridge, known = UvicornBridge(), set[Any]()
    bridge.on("admit", lambda request: Accept(RecordingPeer(request, echo=False)))
    await bridge.start(EngineOptions(close_timeout=0.05))
    switch, pipe = await begin(lambda path: bridge, known)
    pipe.pause_reading()
    await asyncio.sleep(0)
    assert pipe.protocol is switch
    switch.pause_writing()
    switch.resume_writing()
    assert switch.eof_received() is None
    pipe.abort()
    await asyncio.sleep(0)
    assert known == set()
    await bridge.stop()


async def test_a_websocket_of_others_is_uvicorns(monkeypatch: Any) -> None:
    told: list[Any] = []
    other = SimpleNamespace(connection_made=told.append, data_received=told.append, connection_lost=told.append)
    monkeypatch.setattr(ProtocolSwitch, "_uvicorn_protocol", lambda self: other)
    switch, pipe = await begin(lambda path: None, set())
    switch.shutdown()  # it is told by itself
    switch.connection_lost(None)
    assert told == [pipe, HEAD, None]


async def test_what_no_application_has_seen_has_no_scope() -> None:
    engine, peers = SocketioEngine(), list[RecordingPeer]()

    def admit(request: Any) -> Accept:
        peers.append(RecordingPeer(request, echo=False))
        return Accept(peers[-1])

    engine.on("admit", admit)
    await engine.start(EngineOptions(close_timeout=0.05, path="/socket.io/"))
    switch, pipe = await begin(lambda path: engine.bridge, set(), query=b"&transport=websocket")
    switch.data_received(mask_frame(Opcode.TEXT, b"40", b"abcd"))
    await asyncio.sleep(0)
    assert peers[0].transport.native is None
    pipe.abort()
    await peers[0].closed_with()
    await engine.stop()


class Closed(UnlimitedAccept):
    """Has no room, and counts."""

    def __init__(self) -> None:
        self.misreadings: list[int] = []

    def acquire(self, host: str) -> bool:
        return False

    def record_bad_request(self, status: int) -> None:
        self.misreadings.append(status)


async def test_whom_the_server_has_accepted_is_not_counted_twice() -> None:
    """The session that it opens is; a head that is none of a WebSocket is counted as anywhere."""
    bridge, requests, door = UvicornBridge(), list[Any](), Closed()

    def admit(request: Any) -> HttpReply:
        requests.append(request)
        return HttpReply(403)

    bridge.on("admit", admit)
    await bridge.start(EngineOptions(close_timeout=0.05, accept_control=door))
    for encrypted in (True, False):
        _, pipe = await begin(lambda path: bridge, set(), encrypted)
        assert pipe.written.startswith(b"HTTP/1.1 403 ") and requests[-1].secure is encrypted
    switch, pipe = ProtocolSwitch(lambda path: bridge, {"server_state": SimpleNamespace(connections=set())}), Pipe()
    switch.connection_made(pipe)
    switch.data_received(HEAD.replace(b"Host: h\r\n", b""))
    pipe.set_protocol(switch)
    assert pipe.written.startswith(b"HTTP/1.1 400 ") and door.misreadings == [400]
    await bridge.stop()


async def test_nothing_is_read_of_whom_the_engine_has_turned_away() -> None:
    bridge, requests = UvicornBridge(), list[Any]()

    def admit(request: Any) -> HttpReply:
        requests.append(request)
        return HttpReply(403)

    bridge.on("admit", admit)
    await bridge.start(EngineOptions(close_timeout=0.05))
    await bridge.stop()
    _, pipe = await begin(lambda path: bridge, set())
    await asyncio.sleep(0)
    assert (requests, pipe.written) == ([], b"")
