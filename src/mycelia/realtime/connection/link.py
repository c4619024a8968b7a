"""The link of a connection: everything that is bound to one transport.

A link is the `Peer` that an engine calls. It owns the state of the connection, decides where a received message goes
(`Inbound`), writes packets or queues them, and keeps the first fault that ends the connection. It reports to the rest
of the subsystem through the callables in `LinkPorts`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import ConnectionState, WebSocketConnection
from mycelia.realtime.connection.encoder import Encoder
from mycelia.realtime.connection.link_ports import LinkPorts
from mycelia.realtime.connection.send_queue import Overflow, SendQueue, SendResult
from mycelia.realtime.connection.work import Inbound, LinkWorker, PendingHandshake, Receive
from mycelia.transports.seam import CanPause, CanPing, Control, Transport

__all__ = ["Link"]

_OPEN = ConnectionState.OPEN  # reading a member of an Enum class costs as much as a call


def _drop(payload: bytes, binary: bool) -> None:
    """Drop a message of a connection that is closing."""


class Link:
    """One transport of one connection.

    Attributes:
        session: The connection that applications hold.
        received: What takes the next message; only `_switch` sets it.
        can_write_directly: True if a packet may be written at once. That is so if the link is open, the engine is not
            congested, the send queue is empty and the worker holds no reply back.
        dropped: The number of packets that were dropped instead of sent.
        fault: The close code and reason of the first fault; None without a fault.
        closed_with: The close code and reason that this side sent; None if it sent none.
        handshake: The handshake for `connect`; admission sets it, the lifecycle takes it.
        on_held: Called after each message that is held.
    """

    __slots__ = (
        "__weakref__", "_full", "_held", "_ports", "_send_queue", "active_at", "can_write_directly", "closed_with",
        "dropped", "encoder", "fault", "handshake", "id", "inbound", "on_held", "paused", "ping_sent", "pinged_at",
        "received", "rtt", "session", "state", "transport", "wheel_slot", "worker", "write",
    )  # fmt: skip

    def __init__(self, session: WebSocketConnection, encoder: Encoder, ports: LinkPorts[Link]) -> None:
        self.id, self.session, self.encoder, self._ports = session.id, session, encoder, ports
        session.link = self
        self.handshake: PendingHandshake | None = None
        self.state = ConnectionState.NEW
        self.inbound = Inbound.HOLDING
        self.received: Receive = self._hold
        self.active_at = session.opened_at
        self.paused = self._full = self.can_write_directly = False
        self.transport: Transport | None = None
        self.worker: LinkWorker | None = None
        self.dropped = 0
        self.fault: tuple[int, str] | None = None
        self.closed_with: tuple[int, str] | None = None
        self.on_held: Callable[[], None] | None = None
        self._send_queue: SendQueue | None = None
        self._held: list[tuple[bytes, bool]] | None = None
        self.rtt: float | None = None
        self.ping_sent: tuple[float, float] | None = None  # when, and `active_at` at that time
        self.pinged_at = 0.0  # when the heartbeat last pinged; only the heartbeat writes it
        self.wheel_slot = -1  # only the timer wheel writes it

    @property
    def is_open(self) -> bool:
        """True if `connect` has accepted the client and the connection is not closing."""
        return self.state is _OPEN

    @property
    def native(self) -> object:
        """The engine library's own object; None when the transport is gone."""
        return None if self.transport is None else self.transport.native

    def __repr__(self) -> str:
        return f"<Link {self.id} {self.state.name}>"

    # -- Peer: what the engine calls. `received` is an attribute ---------------------------------------

    def opened(self, transport: Transport) -> None:
        """Take the transport of the completed handshake."""
        self.transport = transport
        self.write = self.encoder.writer(transport)
        self.state = ConnectionState.PENDING
        self._ports.opened(self)

    def control(self, kind: Control, payload: bytes) -> None:
        """Count a control frame; measure the round-trip time of a ping."""
        if self._ports.allows_control(self, kind, payload) and kind is Control.PONG and self.ping_sent is not None:
            self.rtt = monotonic() - self.ping_sent[0]
            self.ping_sent = None

    def congested(self, full: bool) -> None:
        """Queue packets while the engine's buffer is full; write them when it has drained."""
        self._full = full
        if full:
            self.can_write_directly = False
        elif self.state is _OPEN:
            self._drain()

    def leaving(self) -> None:
        """Stop sending, because the peer's Close has come."""
        self._stop_sending()

    def failed(self, code: int, reason: str) -> None:
        """Stop sending, because the peer broke the protocol; the engine sends the Close."""
        if self.worker is not None:
            self.worker.clear_backlog()
        self._stop_sending()
        self.fail(code, reason)

    def closed(self, code: int, reason: str) -> None:
        """Report that the transport is gone."""
        self.can_write_directly = False
        self._ports.closed(self, code, reason)

    # -- life ------------------------------------------------------------------------------------------

    def accept(self, greeting: bytes) -> None:
        """Open the link: send the greeting, then what was queued, then handle the messages that were held."""
        self.state = ConnectionState.OPEN
        self.session.accepted = True
        introduced = self.transport is not None and self.transport.accepted(self.id)
        if greeting and not introduced:
            self.write(greeting)
        self._drain()
        self._switch(Inbound.ACCEPTING)
        held, self._held = self._held, None
        for payload, binary in held or ():
            self.received(payload, binary)
        self.resume()

    def fail(self, code: int, reason: str) -> None:
        """Record the fault that ends the connection; only the first one counts."""
        if self.state is not ConnectionState.CLOSED and self.fault is None:
            self.fault = int(code), reason
            self._ports.failed(int(code))

    def close(self, code: int, reason: str) -> None:
        """Send a Close, unless the link is closing. A pending link sends nothing else before it."""
        if self.state not in (ConnectionState.PENDING, ConnectionState.OPEN):
            return
        self.closed_with = code, reason
        if self.state is ConnectionState.PENDING:
            self._send_queue = self._held = None
        if self.worker is not None:
            self.worker.flush()
            self.worker.clear_backlog()
        self._stop_sending()
        if self.transport is not None:
            self.transport.close(code, reason)

    def fail_and_close(self, code: Close, reason: str) -> None:
        """Close for a fault. The `error` handlers of the application run before its `disconnect` handlers."""
        self.fail(code, reason)
        self.close(code, reason)

    def stop_reading(self) -> None:
        """Stop reading for good, where the engine can; for a peer that abuses the server."""
        if isinstance(self.transport, CanPause):
            self.transport.pause()

    def detach(self) -> None:
        """Let go of the transport and everything that `disconnect` handlers do not need."""
        self.state = ConnectionState.CLOSED
        self._switch(Inbound.DROPPING)
        self._held = self._send_queue = self.transport = self.on_held = None
        if self.session.pending_requests is not None:
            self.session.pending_requests.abandon(self.id)

    def release(self) -> None:
        """Cut the reference cycles of the link, so that it is freed without the garbage collector."""
        self.worker = None
        self.session.release()

    # -- in --------------------------------------------------------------------------------------------

    def update_receiver(self) -> None:
        """Ask for the receiver of an accepting link again, because its limits have changed."""
        if self.inbound is Inbound.ACCEPTING:
            self._switch(Inbound.ACCEPTING)

    def shed(self, on: bool) -> None:
        """Begin to refuse the requests of an open link, or end it. A link that refuses for good stays so."""
        if on and self.state is _OPEN and self.inbound is Inbound.ACCEPTING:
            self._switch(Inbound.SHEDDING)
        elif not on and self.inbound is Inbound.SHEDDING:
            self._switch(Inbound.ACCEPTING)

    def refuse_requests(self) -> None:
        """Refuse the requests of an open link from now on, because the server drains."""
        if self.state is _OPEN and self.inbound is not Inbound.REFUSING:
            self._switch(Inbound.REFUSING)

    def report_rate_limited(self) -> None:
        """Count a message that the rate limit of a route refused."""
        self._ports.rate_limited(self)

    def due(self, now: float) -> float:
        """Check the liveness of the link, when the timer wheel asks."""
        return self._ports.due(self, now)

    def take_held(self) -> tuple[bytes, bool] | None:
        """Remove and return the first message that is held; None if there is none."""
        return self._held.pop(0) if self._held else None

    def pause(self) -> None:
        """Stop reading, where the engine can."""
        if not self.paused and isinstance(self.transport, CanPause):
            self.paused = True
            self.transport.pause()

    def resume(self) -> None:
        """Read again after `pause`."""
        if self.paused and isinstance(self.transport, CanPause):
            self.paused = False
            self.transport.resume()

    def _switch(self, inbound: Inbound) -> None:
        """Enter an inbound state. No other function sets `received`."""
        self.inbound = inbound
        if inbound is Inbound.ACCEPTING:
            self.received = self._ports.receiver(self)
        elif inbound is Inbound.DROPPING:
            self.received = _drop
        else:
            self.received = self._ports.refuser(self)

    def _hold(self, payload: bytes, binary: bool) -> None:
        """Keep a message until `connect` is answered; at the bound, pause or close the connection."""
        if self._held is None:
            self._held = []
        self._held.append((payload, binary))
        ports = self._ports
        if len(self._held) >= ports.held_requests or sum(len(each) for each, _ in self._held) >= ports.held_bytes:
            if isinstance(self.transport, CanPause):
                self.pause()
            else:
                self.close(Close.TRY_AGAIN_LATER, "too much before the connection was accepted")
        if self.on_held is not None:
            self.on_held()

    # -- out -------------------------------------------------------------------------------------------

    def push(self, packet: bytes, policy: Overflow = Overflow.NEVER, key: str | None = None) -> SendResult | None:
        """Write a packet now, or queue it. Return None if it was written."""
        if self.can_write_directly:
            self.write(packet)
            return None
        if self.state not in (ConnectionState.PENDING, ConnectionState.OPEN):
            self.dropped += 1
            return SendResult.DROPPED
        worker = self.worker
        if worker is not None and worker.is_corked:
            worker.flush()
            return self.push(packet, policy, key)
        if self._send_queue is None:
            self._send_queue = SendQueue(self._ports.send_queue_bytes)
        before = self._send_queue.dropped
        result = self._send_queue.put(packet, policy, key)
        self.dropped += self._send_queue.dropped - before + (result is SendResult.DISCONNECT)
        if result is SendResult.DISCONNECT:
            self.fail(Close.SLOW_CONSUMER, "the client reads too slowly")
            self.close(Close.SLOW_CONSUMER, "slow consumer")
        return result

    def uncork(self, packet: bytes) -> None:
        """Write replies that the worker held back."""
        if self._send_queue is None and not self._full and self.state is _OPEN:
            self.can_write_directly = True
            self.write(packet)
        else:
            self.push(packet)

    def ping(self) -> None:
        """Send a ping if the engine can; `rtt` is set when the answer comes (RFC 6455 §5.5.2)."""
        if isinstance(self.transport, CanPing) and self.state in (ConnectionState.PENDING, ConnectionState.OPEN):
            if self.ping_sent is None:
                self.ping_sent = (monotonic(), self.active_at)
            self.transport.ping(b"")

    def _stop_sending(self) -> None:
        """Send nothing from now on, and drop what comes."""
        self.state = ConnectionState.CLOSING
        self._switch(Inbound.DROPPING)
        self.can_write_directly = False
        self._ports.stopped(self)

    def _drain(self) -> None:
        """Write what is queued until the engine is congested again."""
        queue = self._send_queue
        while queue is not None and not self._full and (packet := queue.take()) is not None:
            self.write(packet)
        if not self._full and self.state is _OPEN:
            self._send_queue = None
            self.can_write_directly = self.worker is None or not self.worker.is_corked
