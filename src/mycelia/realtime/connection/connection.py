"""One peer, from its handshake to its `disconnect`: the object that handlers and applications hold.

It is also the `Peer` that an engine calls. What a connection does not use it does not have: metadata, outbox,
worker and the table of its own requests are made when first needed, since most connections are idle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from mycelia.errors import ConnectionNotFound, NotRunning
from mycelia.kernel.messages.context import Options
from mycelia.protocol.wire.codes import Close, may_send
from mycelia.protocol.wire.envelope import Request
from mycelia.realtime.connection.pending_requests import Asking
from mycelia.realtime.connection.principal import ClientOptions
from mycelia.realtime.connection.send_queue import Outbox, Overflow, Verdict
from mycelia.realtime.connection.state import Phase
from mycelia.realtime.limits.message_rate_limits import OwnLimiter
from mycelia.transports.seam import CanPause, CanPing, Control, Transport

if TYPE_CHECKING:
    from mycelia.net.client import ClientInfo
    from mycelia.realtime.connection.encoder import Dialect
    from mycelia.realtime.core import Runtime
    from mycelia.realtime.inbound.worker import Worker
    from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["WebSocketConnection"]

_OPEN = Phase.OPEN  # reading a member of an Enum class costs as much as a call


def _drop(payload: bytes, binary: bool) -> None:
    """What a message does when the connection is gone."""


class WebSocketConnection:
    """One WebSocket client.

    `metadata` is the application's own: what `connect` writes there (`userId`, `permissions`) is what filters
    and permission checks read. Nothing of the client's gets in by itself.
    """

    __slots__ = (
        "__weakref__", "_early", "_full", "_metadata", "_opened_at", "_outbox", "_runtime", "accepted", "active_at",
        "asking", "beat_at", "client", "close_asked", "dialect", "dropped", "id", "options", "own_limiter", "paused",
        "phase", "ping_sent", "plain", "received", "rtt", "throttle", "transport", "wheel_slot", "worker", "write",
    )  # fmt: skip

    def __init__(self, connection_id: str, runtime: Runtime, dialect: Dialect, client: ClientInfo) -> None:
        self.id, self.client = connection_id, client
        self.phase = Phase.NEW
        self.accepted = self.paused = self._full = False
        self.rtt: float | None = None
        self.wheel_slot = -1
        self.dropped = 0  # packets that it should have had and did not get
        self.beat_at = 0.0  # when the heartbeat last pinged; the heartbeat's own
        self._runtime = runtime
        self.throttle, self.dialect = runtime.throttle, dialect
        self._opened_at = self.active_at = time()
        self.transport: Transport | None = None
        self.received: Callable[[bytes, bool], None] = self._hold
        self.own_limiter: RateLimiter | None = None
        self.plain = False  # a packet may be written at once: open, not full, nothing waits, nothing corked
        self._metadata: dict[str, Any] | None = None
        self.options: Options = ClientOptions(self)
        self.worker: Worker | None = None
        self._outbox: Outbox | None = None
        self._early: list[tuple[bytes, bool]] | None = None
        self.asking: Asking | None = None
        self.ping_sent: tuple[float, float] | None = None  # when, and the last activity before
        self.close_asked: tuple[int, str] | None = None  # what this side closed with

    # -- what applications use -----------------------------------------------------------------------

    rate_limiter = OwnLimiter()

    @property
    def metadata(self) -> dict[str, Any]:
        """The application's own mapping; empty at first."""
        if self._metadata is None:
            self._metadata = self._runtime.gate.metadata(self)
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any]) -> None:
        value = dict(value)
        self.metadata.clear()
        self.metadata.update(value)

    @property
    def has_metadata(self) -> bool:
        """Whether there is any; asking does not make the mapping."""
        return bool(self._metadata)

    @property
    def socket(self) -> object:
        """The engine library's own object for this connection; None when it is gone."""
        return None if self.transport is None else self.transport.native

    @property
    def connected_at(self) -> datetime:
        """When the handshake was done (aware, UTC)."""
        return datetime.fromtimestamp(self._opened_at, UTC)

    @property
    def last_activity(self) -> datetime:
        """When the last message came (aware, UTC); pings do not count."""
        return datetime.fromtimestamp(self.active_at, UTC)

    @property
    def is_open(self) -> bool:
        """Whether it has been accepted and is not closing."""
        return self.phase is Phase.OPEN

    async def send(
        self, data: Any, *, overflow: Overflow | str = Overflow.DISCONNECT, key: str | None = None
    ) -> Verdict | None:
        """Sends a mapping, or a Message (as its path, body and trace id), to this client, at most once.

        Returns None when it was written, else what became of it. Raises ConnectionNotFound when the client is
        gone and InvalidMessage when the data cannot be encoded.
        """
        if self.phase not in (Phase.PENDING, Phase.OPEN):
            raise ConnectionNotFound(self.id)
        packet = self.dialect.pack_value(self._runtime.outgoing(data))
        return self.push(packet, Overflow(overflow), key)

    async def request(self, path: str, body: Any = None, *, timeout: float = 30.0) -> Any:
        """Asks the client and returns the data of its response.

        Raises RequestTimeout, HandlerError (with the client's own code) when it answers `success: false`, and
        ConnectionNotFound when it is, or goes, away.
        """
        if self.phase is Phase.PENDING:
            raise NotRunning("this client is not accepted yet, so it would not get the request; ask after `connect`")
        if self.phase is not Phase.OPEN:
            raise ConnectionNotFound(self.id)
        if self.asking is None:
            self.asking = Asking(self._runtime.config.connection.backlog_requests)
        request = Request(path, body, self._runtime.next_correlation_id())
        return await self.asking.ask(request, timeout, lambda asked: self.push(self.dialect.pack(asked)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes with this code; does nothing when the connection is closing already.

        Raises ValueError for a code that may not be sent (RFC 6455 §7.4); the connection then stays as it is.
        """
        if not isinstance(code, int) or not isinstance(reason, str) or not may_send(code):
            wanted = "a close code that may be sent (1000, 3000 to 4999, …) and a reason as text"
            raise ValueError(f"expected {wanted}, got {code!r} and {reason!r}")
        if self.phase in (Phase.PENDING, Phase.OPEN):
            self.close_asked = (code, reason)
            if self.phase is Phase.PENDING:
                self._outbox = self._early = None  # nothing but the Close goes out
            if self.worker is not None:
                self.worker.flush()
                self.worker.forget()
            self._end()
            if self.transport is not None:
                self.transport.close(code, reason)

    def ping(self) -> None:
        """Sends a ping where the engine can; `rtt` is set when the answer comes (RFC 6455 §5.5.2)."""
        if isinstance(self.transport, CanPing) and self.phase in (Phase.PENDING, Phase.OPEN):
            if self.ping_sent is None:
                self.ping_sent = (monotonic(), self.active_at)
            self.transport.ping(b"")

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self.id} {self.phase.name}>"

    # -- Peer: what the engine calls -----------------------------------------------------------------
    # `received` is an attribute: while pending it holds messages back, once accepted it is the dispatch itself.

    def opened(self, transport: Transport) -> None:
        self.transport = transport
        self.write = self.dialect.writer(transport)
        self.phase = Phase.PENDING
        self._runtime.lifecycle.opened(self)

    def control(self, kind: Control, payload: bytes) -> None:
        if self.throttle.passes(self, kind, payload) and kind is Control.PONG and self.ping_sent is not None:
            self.rtt = monotonic() - self.ping_sent[0]
            self.ping_sent = None

    def congested(self, full: bool) -> None:
        self._full = full
        if full:
            self.plain = False
        elif self.phase is Phase.OPEN:
            self._drain()

    def leaving(self) -> None:
        self._end()

    def failed(self, code: int, reason: str) -> None:
        if self.worker is not None:
            self.worker.forget()
        self._end()
        self._runtime.lifecycle.failed(self, code, reason)

    def closed(self, code: int, reason: str) -> None:
        self.plain = False
        self._runtime.lifecycle.closed(self, code, reason)

    # -- what the rest of the subsystem uses ---------------------------------------------------------

    def accept(self, greeting: bytes) -> None:
        """`connect` has accepted: the greeting goes out, then what was held, then in what was held."""
        self.phase, self.accepted = Phase.OPEN, True
        introduced = self.transport is not None and self.transport.accepted(self.id)
        if greeting and not introduced:
            self.write(greeting)
        self._drain()
        self.throttle.attend(self)
        early, self._early = self._early, None
        for payload, binary in early or ():
            self.received(payload, binary)
        self.resume()

    def take_held(self) -> tuple[bytes, bool] | None:
        """The first message that is held back while it is pending; it is then held no longer."""
        return self._early.pop(0) if self._early else None

    def push(self, packet: bytes, policy: Overflow = Overflow.NEVER, key: str | None = None) -> Verdict | None:
        """Writes a packet now, or queues it; None when it was written."""
        if self.plain:
            self.write(packet)
            return None
        if self.phase not in (Phase.PENDING, Phase.OPEN):
            self.dropped += 1
            return Verdict.DROPPED
        worker = self.worker
        if worker is not None and worker.cork:
            worker.flush()
            return self.push(packet, policy, key)
        if self._outbox is None:
            self._outbox = Outbox(self._runtime.config.connection.outbox_bytes)
        before = self._outbox.dropped
        verdict = self._outbox.put(packet, policy, key)
        self.dropped += self._outbox.dropped - before + (verdict is Verdict.DISCONNECT)
        if verdict is Verdict.DISCONNECT:
            self._runtime.lifecycle.failed(self, int(Close.SLOW_CONSUMER), "the client reads too slowly")
            self.close(Close.SLOW_CONSUMER, "slow consumer")
        return verdict

    def uncork(self, packet: bytes) -> None:
        """Writes what the worker held back."""
        if self._outbox is None and not self._full and self.phase is _OPEN:
            self.plain = True
            self.write(packet)
        else:
            self.push(packet)

    def pause(self) -> None:
        """Stops reading, where the engine can."""
        if not self.paused and isinstance(self.transport, CanPause):
            self.paused = True
            self.transport.pause()

    def resume(self) -> None:
        """Reads again."""
        if self.paused and isinstance(self.transport, CanPause):
            self.paused = False
            self.transport.resume()

    def due(self, now: float) -> float:
        """The wheel's question: ping, or judge the last ping. Returns when to ask again."""
        return self._runtime.heartbeat.due(self, now)

    def forgotten(self) -> None:
        """Nobody finds it any more: what refers back to it is cut, so that it needs no collector."""
        self.worker = None
        self.options = Options(caller=self.options.caller, connection_id=self.id)

    def gone(self) -> None:
        """Lets go of everything but what handlers of `disconnect` may read."""
        self.phase, self.received = Phase.CLOSED, _drop
        self._early = self._outbox = self.transport = None
        if self.asking is not None:
            self.asking.abandon(self.id)

    # -- inside --------------------------------------------------------------------------------------

    def _end(self) -> None:
        """From now on nothing is sent, and what comes is dropped."""
        self.phase = Phase.CLOSING
        self.received = self._hold
        self.plain = False
        self._runtime.connections.hide(self)

    def _hold(self, payload: bytes, binary: bool) -> None:
        """What a message does while `connect` has not been answered; when closing it is dropped."""
        if self.phase is not Phase.PENDING:
            return
        if self._early is None:
            self._early = []
        self._early.append((payload, binary))
        limits = self._runtime.config.connection
        if len(self._early) >= limits.backlog_requests or sum(len(p) for p, _ in self._early) >= limits.backlog_bytes:
            if isinstance(self.transport, CanPause):
                self.pause()
            else:
                self.close(Close.TRY_AGAIN_LATER, "too much before the connection was accepted")

    def _drain(self) -> None:
        """Writes what waits until the engine is full again."""
        outbox = self._outbox
        while outbox is not None and not self._full and (packet := outbox.take()) is not None:
            self.write(packet)
        if not self._full and self.phase is Phase.OPEN:
            self._outbox = None
            self.plain = self.worker is None or not self.worker.cork
