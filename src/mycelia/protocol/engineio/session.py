"""One Engine.IO session on the server's side: what it answers, to whom, and when it ends.

A session lives on HTTP requests (one GET that waits for packets, one POST that brings some) and may move to a
WebSocket; it may also begin in one. Whoever owns the sockets names each request and each WebSocket by a key of its own
choice, says what happens to it, and does what the returned outputs say, in their order. Nothing here waits or reads a
clock: `now` is any clock that only goes forward, and `due` is when `tick` is wanted next.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Final

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.actions import Beat, End, Ended, Hang, Output, Received, Reply, Write, refused
from mycelia.protocol.engineio.heartbeat import Heart
from mycelia.protocol.engineio.packets import (
    SEPARATOR,
    Packet,
    PacketFault,
    PacketKind,
    Refusal,
    Terms,
    Waiting,
    part,
    read_frame,
    read_payload,
    write_frame,
)
from mycelia.protocol.engineio.upgrade import Step, Upgrade

__all__ = ["Session"]

_PING, _CLOSE, _NOOP = Packet(PacketKind.PING), Packet(PacketKind.CLOSE), Packet(PacketKind.NOOP)
_PROBED = Packet(PacketKind.PONG, b"probe")
_MESSAGE: Final = PacketKind.MESSAGE


class Session:
    """The state of one session; every method returns what is to be done now, in order."""

    __slots__ = (
        "_close", "_close_due", "_get", "_heart", "_post", "_socket", "_terms", "_upgrade", "_waiting", "over",
        "parting", "sid",
    )  # fmt: skip

    def __init__(self, sid: str, terms: Terms, now: float) -> None:
        self.sid, self._terms = sid, terms
        self.over = False
        self._waiting = Waiting()  # for a GET
        self._get: Hashable = None
        self._post: Hashable = None
        self._socket: Hashable = None
        self._upgrade = Upgrade(terms.upgrade_timeout)
        self.parting = False  # it was closed by its client, whose last GET may still be on its way
        self._close: tuple[int, str] | None = None  # what the server closes with, once everything is sent
        self._heart = Heart(terms.ping_interval, terms.ping_timeout, now)
        self._close_due = inf

    @property
    def home(self) -> Hashable:
        """The WebSocket that it lives in, where messages may be written as they are; None before, and at the end."""
        return self._socket if self._close is None else None

    @property
    def buffered(self) -> int:
        """Bytes of packets that wait for a GET."""
        return self._waiting.size_bytes

    @property
    def due(self) -> float:
        """When `tick` is wanted next; infinity when the session is over."""
        dues = self._heart.ping_due, self._heart.pong_due, self._upgrade.due, self._close_due, self._upgrade.noop_due
        return inf if self.over else min(dues)

    # -- the beginning -------------------------------------------------------------------------------

    def open_polling(self, key: Hashable) -> list[Output]:
        """Answers the GET that began the session."""
        return [Reply(key, 200, b"0" + self._terms.handshake(self.sid, True))]

    def open_websocket(self, key: Hashable) -> list[Output]:
        """Greets the WebSocket that began the session."""
        self._socket = key
        return [Write(key, b"0" + self._terms.handshake(self.sid, False), False)]

    # -- requests ------------------------------------------------------------------------------------

    def get(self, key: Hashable, now: float) -> list[Output]:
        """A GET of this session: answered at once when there is something, else when there will be."""
        if self.parting:
            self.parting = False
            return [Reply(key, 200, part(_NOOP))]
        out = self.tick(now)
        if self._takes(key, self._get, out):
            self._get = key
            self._upgrade.waits(now)
            self._flush(out)
        return out

    def post(self, key: Hashable, now: float) -> list[Output]:
        """The head of a POST; what its body brings is for `body`, unless this refuses it."""
        out = self.tick(now)
        if self._takes(key, self._post, out):
            self._post = key
        return out

    def body(self, key: Hashable, payload: bytes, now: float) -> list[Output]:
        """The body of a POST; also of one that began before the session moved to a WebSocket."""
        if self.over or key != self._post:
            return []  # it is answered already
        out = self.tick(now)
        if self.over:
            return out
        try:
            packets = read_payload(payload, self._terms.max_payload_bytes, self._terms.request_packets)
            for packet in packets:
                self._take(packet, now, out)
                if self.over:
                    return out
        except PacketFault as fault:
            self._post = None
            out.append(refused(key, fault.refusal))
            self._end(out, End.FAULT, fault.close_code, fault.reason)
            return out
        self._post = None
        out.append(Reply(key, 200, b"ok"))
        return out

    def gone(self, key: Hashable) -> list[Output]:
        """A request was given up by its client before it was answered, or a WebSocket is no more."""
        out: list[Output] = []
        if self.over or key is None:
            return out
        if key == self._socket:
            self._socket = None
            self._end(out, End.LOST)
        elif key == self._upgrade.key:
            self._upgrade.forget()
        elif key == self._get:
            self._get = None
        elif key == self._post:
            self._post = None
        return out

    # -- WebSockets ----------------------------------------------------------------------------------

    def websocket(self, key: Hashable, now: float) -> list[Output]:
        """A WebSocket that names this session: the session may move there; a second one is hung up on."""
        out = self.tick(now)
        if self.over or self._socket is not None or self._upgrade.key is not None or not self._terms.upgrades:
            out.append(Hang(key, 1008, "this session has a WebSocket, or takes none"))
        else:
            self._upgrade.begin(key, now)
        return out

    def message(self, key: Hashable, text: bytes) -> bytes | None:
        """What `frame` would give of a text that is a message, in short; None for what is left to `frame`."""
        if (
            key is self._socket
            and text[:1] == b"4"
            and self._close is None
            and self._heart.pong_due == inf  # else any packet is the sign of life that is awaited
            and len(text) <= self._terms.max_payload_bytes
        ):
            return text[1:]
        return None

    def frame(self, key: Hashable, payload: bytes, binary: bool, now: float) -> list[Output]:
        """A message in a WebSocket of this session."""
        out: list[Output] = []
        if self.over:
            return out
        if key == self._socket:
            try:
                if len(payload) > self._terms.max_payload_bytes:
                    raise PacketFault(f"expected at most {self._terms.max_payload_bytes} bytes", 1009)
                self._take(read_frame(payload, binary), now, out)
            except PacketFault as fault:
                self._end(out, End.FAULT, fault.close_code, fault.reason)
        elif key == self._upgrade.key:
            match self._upgrade.step(b"" if binary else payload, self._get is not None, now):
                case Step.PROBED:
                    out.append(Write(key, *write_frame(_PROBED)))
                case Step.DONE:
                    self._socket = key
                    self._flush(out)
                case Step.WRONG:
                    out.append(Hang(key, 1002, "expected `2probe` and then `5` to upgrade"))
        return out

    # -- what the server does ------------------------------------------------------------------------

    def send(self, payload: bytes, binary: bool, *, more: bool = False) -> list[Output]:
        """Sends a message; with `more` it may wait for `flush`, so that a GET takes what follows too.

        Raises InvalidMessage for a text that HTTP cannot carry. After the end, or `close`, it does nothing.
        """
        out: list[Output] = []
        if self.over or self._close is not None:
            return out
        packet = Packet(_MESSAGE, payload, binary)
        if self._socket is not None:
            out.append(Write(self._socket, *write_frame(packet)))
            return out
        if not binary and SEPARATOR in payload:
            raise InvalidMessage("expected a text without the character 0x1E, which HTTP long-polling cannot carry")
        if not self._waiting.fits(payload, self._terms.buffer_bytes):
            self._end(out, End.OVERFLOW)
            return out
        self._waiting.put(packet)
        if not more:
            self._flush(out)
        return out

    def flush(self) -> list[Output]:
        """Lets leave what was sent with `more`."""
        out: list[Output] = []
        self._flush(out)
        return out

    def close(self, now: float, code: int = 1000, reason: str = "") -> list[Output]:
        """Ends the session from this side: behind what waits, and at the latest `close_timeout` from now."""
        out: list[Output] = []
        if not self.over and self._close is None:
            self._close, self._close_due = (code, reason), now + self._terms.close_timeout
            self._flush(out)
        return out

    def abort(self) -> list[Output]:
        """Ends the session now; what waits is lost."""
        out: list[Output] = []
        self._end(out, End.SERVER)
        return out

    def tick(self, now: float, judge: bool = True) -> list[Output]:
        """What the time brings: a ping, or an end to waiting; without `judge` no end for want of an answer."""
        out: list[Output] = []
        if self.over or now < self.due:
            return out
        if now >= self._upgrade.due:
            out.append(Hang(self._upgrade.key, 1002, "the upgrade took too long"))
            self._upgrade.forget()
        if now >= self._upgrade.noop_due:
            if self._get is not None:
                late = self._socket is not None
                out.append(refused(self._get, Refusal.BAD_REQUEST) if late else Reply(self._get, 200, part(_NOOP)))
            self._get, self._upgrade.noop_due = None, inf
        if not judge:
            self._heart.spare(now)
        if now >= self._close_due:
            self._end(out, End.SERVER)
        elif self._heart.lost(now):
            self._end(out, End.HEARTBEAT)
        elif self._heart.beats(now):
            self._waiting.put(_PING, first=True)  # control does not wait behind messages
            self._flush(out)
        return out

    # -- inside --------------------------------------------------------------------------------------

    def _takes(self, key: Hashable, another: Hashable, out: list[Output]) -> bool:
        """Whether a request may come now, of whose kind `another` may wait; one too many ends the session."""
        free = self._socket is None and not self.over
        if free and another is None:
            return True
        out.append(refused(key, Refusal.UNKNOWN_SESSION if self.over else Refusal.BAD_REQUEST))
        if free:
            self._end(out, End.OVERLAP)
        return False

    def _take(self, packet: Packet, now: float, out: list[Output]) -> None:
        """One packet of the client's; each is a sign of life. Raises PacketFault for what a client may not send."""
        self._heart.alive(now)
        match packet.kind:
            case PacketKind.MESSAGE:
                if self._close is None:  # whoever has closed hears no more
                    out.append(Received(packet.payload, packet.binary))
            case PacketKind.PONG:
                out.append(Beat())
            case PacketKind.CLOSE:
                self._end(out, End.CLIENT)
            case _:
                raise PacketFault(f"expected a message, pong or close, got {packet.kind.name.lower()}")

    def _flush(self, out: list[Output]) -> None:
        """Lets everything leave that can leave now; behind it the close, where there is one."""
        if self._socket is not None:
            out.extend(Write(self._socket, *write_frame(packet)) for packet in self._waiting.take())
        elif self._get is not None and self._waiting:
            key, self._get = self._get, None
            terms = self._terms
            out.append(Reply(key, 200, self._waiting.response(terms.response_packets, terms.max_payload_bytes)))
        if self._close is not None and not self._waiting and (self._socket is not None or self._get is not None):
            self._end(out, End.SERVER)

    def _end(self, out: list[Output], why: End, code: int = 0, reason: str = "") -> None:
        """Answers and closes everything that is open, once."""
        if self.over:
            return
        self.over = True
        self.parting = why is End.CLIENT and self._get is None and self._post is not None
        code, reason = (code or why.code), (reason or why.text)
        if why is End.SERVER and self._close is not None:
            code, reason = self._close
        if self._get is not None:
            out.append(Reply(self._get, 200, part(_NOOP if why is End.CLIENT else _CLOSE)))
        if self._post is not None:
            done = why is End.CLIENT
            out.append(Reply(self._post, 200, b"ok") if done else refused(self._post, Refusal.UNKNOWN_SESSION))
        out.extend(Hang(socket, code, reason) for socket in (self._socket, self._upgrade.key) if socket is not None)
        self._get = self._post = self._socket = None
        self._upgrade.forget()
        self._waiting = Waiting()
        out.append(Ended(why, code, reason))
