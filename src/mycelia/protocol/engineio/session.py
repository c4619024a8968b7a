"""One Engine.IO session of a server: its responses, its messages and its end.

A session lives on HTTP requests: one GET that waits for packets, and one POST that brings packets. It may move to a
WebSocket, or begin in one. The owner of the sockets names each request and each WebSocket by a key of its own choice,
reports every event, and does the returned actions in order. A session does no I/O and reads no clock. `now` is the time
of any monotonic clock, and `due` is the time at which the session needs `tick` next.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Final

from mycelia.protocol.engineio.actions import (
    Action,
    CloseWebSocket,
    Ended,
    EndReason,
    Heartbeat,
    Received,
    Respond,
    Write,
    reject,
)
from mycelia.protocol.engineio.heartbeat import HeartbeatTimer
from mycelia.protocol.engineio.packets import Packet, PacketFault, PacketKind, read_frame, read_payload, write_frame
from mycelia.protocol.engineio.polling import NOOP, LongPolling
from mycelia.protocol.engineio.requests import ErrorResponse
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.engineio.upgrade import Upgrade

__all__ = ["Session"]

_PING: Final = Packet(PacketKind.PING)
_MESSAGE: Final = PacketKind.MESSAGE


class Session:
    """The state of one session. Every method returns the actions that are due now, in order.

    Attributes:
        sid: The id of the session.
        over: True after the end.
        expects_last_get: True if the client has closed the session while its last GET may still be on its way.
    """

    __slots__ = (
        "_close", "_close_due", "_heartbeat", "_polling", "_settings", "_upgrade", "_websocket", "expects_last_get",
        "over", "sid",
    )  # fmt: skip

    def __init__(self, sid: str, settings: Settings, now: float) -> None:
        self.sid, self._settings = sid, settings
        self.over = self.expects_last_get = False
        self._polling = LongPolling(settings)
        self._websocket: Hashable = None
        self._upgrade = Upgrade(settings.upgrade_timeout)
        self._close: tuple[int, str] | None = None  # the server's close code and reason, sent after the queue
        self._heartbeat = HeartbeatTimer(settings.ping_interval, settings.ping_timeout, now)
        self._close_due = inf

    @property
    def direct_websocket(self) -> Hashable:
        """The WebSocket to which messages can be written directly, or None before the upgrade and while closing."""
        return self._websocket if self._close is None else None

    @property
    def buffered(self) -> int:
        """The number of bytes of packets that wait for a GET."""
        return self._polling.queue.size_bytes

    @property
    def due(self) -> float:
        """The time at which `tick` is needed next; infinity after the end."""
        heartbeat, upgrade = self._heartbeat, self._upgrade
        dues = heartbeat.ping_due, heartbeat.pong_due, upgrade.due, self._close_due, upgrade.noop_due
        return inf if self.over else min(dues)

    # -- the beginning -------------------------------------------------------------------------------

    def open_polling(self, key: Hashable) -> list[Action]:
        """Answer the GET that begins the session."""
        return [Respond(key, 200, b"0" + self._settings.handshake(self.sid, True))]

    def open_websocket(self, key: Hashable) -> list[Action]:
        """Send the open packet to the WebSocket that begins the session."""
        self._websocket = key
        return [Write(key, b"0" + self._settings.handshake(self.sid, False), False)]

    # -- requests ------------------------------------------------------------------------------------

    def get(self, key: Hashable, now: float) -> list[Action]:
        """Handle a GET: answer it at once if packets are queued, else when the next packet comes."""
        if self.expects_last_get:
            self.expects_last_get = False
            return [Respond(key, 200, NOOP)]
        actions = self.tick(now)
        if self._admits(key, self._polling.get, actions):
            self._polling.get = key
            self._upgrade.limit_get(now)
            self._flush(actions)
        return actions

    def post(self, key: Hashable, now: float) -> list[Action]:
        """Handle the head of a POST. If this does not reject the request, its body is for `body`."""
        actions = self.tick(now)
        if self._admits(key, self._polling.post, actions):
            self._polling.post = key
        return actions

    def body(self, key: Hashable, payload: bytes, now: float) -> list[Action]:
        """Handle the body of a POST, also of one that began before the session moved to a WebSocket."""
        if self.over or key != self._polling.post:
            return []  # the POST has its response already
        actions = self.tick(now)
        if self.over:
            return actions
        try:
            packets = read_payload(payload, self._settings.max_payload_bytes, self._settings.request_packets)
            for packet in packets:
                self._handle(packet, now, actions)
                if self.over:
                    return actions
        except PacketFault as fault:
            self._polling.post = None
            actions.append(reject(key, fault.error_response))
            self._end(actions, EndReason.FAULT, fault.close_code, fault.reason)
            return actions
        self._polling.post = None
        actions.append(Respond(key, 200, b"ok"))
        return actions

    def disconnected(self, key: Hashable) -> list[Action]:
        """Handle the loss of a WebSocket, or of a request before its response."""
        actions: list[Action] = []
        if self.over or key is None:
            return actions
        if key == self._websocket:
            self._websocket = None
            self._end(actions, EndReason.LOST)
        elif key == self._upgrade.key:
            self._upgrade.cancel()
        else:
            self._polling.cancel(key)
        return actions

    # -- WebSockets ----------------------------------------------------------------------------------

    def begin_upgrade(self, key: Hashable, now: float) -> list[Action]:
        """Handle a WebSocket that names this session. The session may move there; a second one is closed."""
        actions = self.tick(now)
        if self.over or self._websocket is not None or self._upgrade.key is not None or not self._settings.upgrades:
            actions.append(CloseWebSocket(key, 1008, "this session already has a WebSocket, or cannot be upgraded"))
        else:
            self._upgrade.begin(key, now)
        return actions

    def plain_message(self, key: Hashable, payload: bytes) -> bytes | None:
        """Return the message in a text frame, or None if the frame needs `frame`.

        This is a short cut for the most frequent case.
        """
        if (
            key is self._websocket
            and payload[:1] == b"4"
            and self._close is None
            and self._heartbeat.pong_due == inf  # else the packet is the answer to a ping
            and len(payload) <= self._settings.max_payload_bytes
        ):
            return payload[1:]
        return None

    def frame(self, key: Hashable, payload: bytes, binary: bool, now: float) -> list[Action]:
        """Handle a message in a WebSocket of this session."""
        actions: list[Action] = []
        if self.over:
            return actions
        if key == self._websocket:
            try:
                if len(payload) > self._settings.max_payload_bytes:
                    most = self._settings.max_payload_bytes
                    raise PacketFault(f"expected at most {most} bytes, got {len(payload)}", 1009)
                self._handle(read_frame(payload, binary), now, actions)
            except PacketFault as fault:
                self._end(actions, EndReason.FAULT, fault.close_code, fault.reason)
        elif key == self._upgrade.key:
            get_waits = self._polling.get is not None
            if self._upgrade.receive(b"" if binary else payload, get_waits, now, actions):
                self._websocket = key
                self._flush(actions)
        return actions

    # -- what the server does ------------------------------------------------------------------------

    def send(self, payload: bytes, binary: bool, *, more: bool = False) -> list[Action]:
        """Send a message; with `more` it may wait for `flush`, so that one GET takes what follows too.

        Does nothing after `close` or the end. Raises InvalidMessage for text that HTTP cannot carry.
        """
        actions: list[Action] = []
        if self.over or self._close is not None:
            return actions
        packet = Packet(_MESSAGE, payload, binary)
        if self._websocket is not None:
            actions.append(Write(self._websocket, *write_frame(packet)))
        elif not self._polling.put(packet):
            self._end(actions, EndReason.SLOW_CONSUMER)
        elif not more:
            self._flush(actions)
        return actions

    def flush(self) -> list[Action]:
        """Send the messages that were sent with `more`."""
        actions: list[Action] = []
        self._flush(actions)
        return actions

    def close(self, now: float, code: int = 1000, reason: str = "") -> list[Action]:
        """End the session from this side when the queue is empty, and after `close_timeout` at the latest."""
        actions: list[Action] = []
        if not self.over and self._close is None:
            self._close, self._close_due = (code, reason), now + self._settings.close_timeout
            self._flush(actions)
        return actions

    def abort(self) -> list[Action]:
        """End the session now. Queued packets are lost."""
        actions: list[Action] = []
        self._end(actions, EndReason.SERVER)
        return actions

    def tick(self, now: float, reading: bool = True) -> list[Action]:
        """Do what is due: send a ping, end the session, or end an upgrade.

        `reading` is False while the server does not read the client, whose answer to a ping may then be unread.
        """
        actions: list[Action] = []
        if self.over or now < self.due:
            return actions
        self._upgrade.check_timeout(now, actions)
        if now >= self._upgrade.noop_due:
            self._polling.release_get(self._websocket is not None, actions)
            self._upgrade.noop_due = inf
        if not reading:
            self._heartbeat.extend(now)
        if now >= self._close_due:
            self._end(actions, EndReason.SERVER)
        elif self._heartbeat.has_timed_out(now):
            self._end(actions, EndReason.HEARTBEAT)
        elif self._heartbeat.start_ping(now):
            self._polling.queue.put(_PING, first=True)  # a ping must not wait behind messages
            self._flush(actions)
        return actions

    # -- inside --------------------------------------------------------------------------------------

    def _admits(self, key: Hashable, waiting: Hashable, actions: list[Action]) -> bool:
        """Return True if a request may come now. A second one of the same kind ends the session."""
        usable = self._websocket is None and not self.over
        if usable and waiting is None:
            return True
        actions.append(reject(key, ErrorResponse.UNKNOWN_SESSION if self.over else ErrorResponse.BAD_REQUEST))
        if usable:
            self._end(actions, EndReason.OVERLAP)
        return False

    def _handle(self, packet: Packet, now: float, actions: list[Action]) -> None:
        """Handle one packet. Raises PacketFault for a kind that a client may not send."""
        self._heartbeat.record_activity(now)
        match packet.kind:
            case PacketKind.MESSAGE:
                if self._close is None:  # after `close` the server reads no more messages
                    actions.append(Received(packet.payload, packet.binary))
            case PacketKind.PONG:
                actions.append(Heartbeat())
            case PacketKind.CLOSE:
                self._end(actions, EndReason.CLIENT)
            case _:
                raise PacketFault(f"expected a message, pong or close, got {packet.kind.name.lower()}")

    def _flush(self, actions: list[Action]) -> None:
        """Send every packet that can be sent now, and then end a session that is closing."""
        polling = self._polling
        if self._websocket is not None:
            actions.extend(Write(self._websocket, *write_frame(packet)) for packet in polling.queue.take())
        else:
            polling.flush(actions)
        if self._close is not None and not polling.queue and (self._websocket is not None or polling.get is not None):
            self._end(actions, EndReason.SERVER)

    def _end(self, actions: list[Action], why: EndReason, code: int = 0, reason: str = "") -> None:
        """Answer every open request, close every WebSocket, and report the end, once."""
        if self.over:
            return
        self.over = True
        by_client, polling = why is EndReason.CLIENT, self._polling
        self.expects_last_get = by_client and polling.get is None and polling.post is not None
        code, reason = (code or why.code), (reason or why.reason)
        if why is EndReason.SERVER and self._close is not None:
            code, reason = self._close
        polling.end(by_client, actions)
        websockets = self._websocket, self._upgrade.key
        actions.extend(CloseWebSocket(key, code, reason) for key in websockets if key is not None)
        self._websocket = None
        self._upgrade.cancel()
        actions.append(Ended(why, code, reason))
