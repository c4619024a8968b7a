"""How fast clients may go: messages by connection, principal and address, and control frames.

A message above a rate is answered RATE_LIMITED in its turn, with the milliseconds after which it may come again; who
goes on after that again and again is disconnected (4429). Where nothing is limited nothing stands in the way: the
connection hands its messages to the dispatch itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mycelia.errors import RateLimited
from mycelia.observability.counters import Limit
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.wire.envelope import Event, Request, Response
from mycelia.realtime.inbound.client_message import silent
from mycelia.scheduling.rate_limiter import RateLimiter
from mycelia.serving.error_responses import failure, fault_of
from mycelia.transports.seam import CanPause, Control

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["OwnLimiter", "Refused", "Throttle"]

Received = Callable[[bytes, bool], None]
Rule = tuple[Callable[["WebSocketConnection"], str | None], RateLimiter, Limit]


class Refused(Request, frozen=True):
    """A request above a rate that waits for its turn to be answered so; it is run by nobody."""

    wait: float = 0.0


class OwnLimiter:
    """The attribute `rate_limiter` of a connection: a limiter that an application gives to this one client."""

    def __get__(self, connection: WebSocketConnection | None, owner: object = None) -> RateLimiter | None:
        return None if connection is None else connection.own_limiter

    def __set__(self, connection: WebSocketConnection, limiter: RateLimiter | None) -> None:
        if limiter is not None and not isinstance(limiter, RateLimiter):
            raise TypeError(f"expected a RateLimiter or None, got {type(limiter).__name__}")
        connection.own_limiter = limiter
        if connection.is_open:
            connection.throttle.attend(connection)


class Throttle:
    """Applies the rates of one subsystem to its connections."""

    def __init__(self, runtime: Runtime) -> None:
        limits = runtime.config.limits
        self._runtime = runtime
        self._rules = tuple(
            (owner_of, limiter, limit)
            for rate, owner_of, limit in (
                (limits.rate_per_connection, _connection_of, Limit.RATE_PER_CONNECTION),
                (limits.rate_per_principal, _principal_of, Limit.RATE_PER_PRINCIPAL),
                (limits.rate_per_address, _address_of, Limit.RATE_PER_ADDRESS),
            )
            if (limiter := RateLimiter.of(rate)) is not None
        )
        self._controls = RateLimiter.of(limits.control_rate)
        self._abuse = RateLimiter.of(limits.abuse)
        self._small = limits.small_fragment_bytes

    # -- messages ------------------------------------------------------------------------------------

    def attend(self, connection: WebSocketConnection) -> None:
        """From now on a message of the connection goes to the dispatch, or to its limits first, if it has any."""
        inner = partial(self._runtime.dispatch.intake.received, connection)
        rules = self._rules
        if connection.own_limiter is not None:
            rules = (*rules, (_connection_of, connection.own_limiter, Limit.RATE_PER_CONNECTION))
        connection.received = partial(self._received, connection, inner, rules) if rules else inner

    def _received(
        self, connection: WebSocketConnection, inner: Received, rules: tuple[Rule, ...], payload: bytes, binary: bool
    ) -> None:
        for at, (owner_of, limiter, limit) in enumerate(rules):
            owner = owner_of(connection)
            if owner is not None and (wait := limiter.take(owner)):
                for other_of, other, _ in rules[:at]:
                    other.give_back(other_of(connection))
                self._runtime.refusals.add(limit)
                self._refuse(connection, inner, payload, binary, wait)
                return
        inner(payload, binary)

    def _refuse(
        self, connection: WebSocketConnection, inner: Received, payload: bytes, binary: bool, wait: float
    ) -> None:
        """Answers in turn: after the replies to what came before. Events and `noReply` are counted only."""
        envelope = self._decoded(connection, payload, binary)
        asking = connection.asking
        if isinstance(envelope, Response) and asking is not None:
            if asking.awaits(envelope.correlation_id):
                inner(payload, binary)
                return
            self._runtime.dispatch.intake.unmatched_responses += 1
        if self.disobeyed(connection) or not isinstance(envelope, Request) or silent(envelope.metadata):
            return
        worker = connection.worker
        if worker is not None and not worker.idle:
            worker.put(Refused(None, None, envelope.correlation_id, envelope.metadata, wait), payload)
            return
        responder = self._runtime.dispatch.responder
        trace_id = responder.next_trace_id()
        fault = fault_of(RateLimited("a message", wait), None, connection.id, trace_id)
        responder.send(connection, failure(fault, envelope.correlation_id, trace_id))

    def _decoded(self, connection: WebSocketConnection, payload: bytes, binary: bool) -> Request | Response | Event:
        """The envelope; of what is none, a request with the correlation id that could be read."""
        return connection.dialect.skim(payload) if binary is connection.dialect.binary else Request()

    # -- control frames ------------------------------------------------------------------------------

    def passes(self, connection: WebSocketConnection, kind: Control, payload: bytes) -> bool:
        """Counts a ping, a pong or a small fragment; False when it was one too many and closed the connection."""
        controls = self._controls
        if controls is None or (kind is Control.FRAGMENT and len(payload) >= self._small):
            return True
        if not controls.take(connection.id):
            return True
        self._runtime.refusals.add(Limit.CONTROL_RATE)
        self._hang_up(connection, "too many control frames or small fragments")
        return False

    # -- abuse ---------------------------------------------------------------------------------------

    def limited(self, connection: WebSocketConnection) -> None:
        """The limit of a route has refused a request of this connection."""
        self._runtime.refusals.add(Limit.RATE_PER_ROUTE)
        self.disobeyed(connection)

    def disobeyed(self, connection: WebSocketConnection) -> bool:
        """Counts a refusal; True when it was one too many (4429)."""
        if not self.abused(connection.id):
            return False
        self._hang_up(connection, "too many messages after refusals")
        return True

    def abused(self, who: str) -> bool:
        """Counts a refusal of whoever this is; True when it was one too many, and is counted as abuse."""
        if self._abuse is None or not self._abuse.take(who):
            return False
        self._runtime.refusals.add(Limit.ABUSE)
        return True

    def forget(self, connection: WebSocketConnection) -> None:
        """The connection is gone."""
        own = connection.own_limiter
        if own is not None:  # which may be shared by many
            own.forget(connection.id)
        for limiter in (self._controls, self._abuse, *(rule[1] for rule in self._rules if rule[0] is _connection_of)):
            if limiter is not None:
                limiter.forget(connection.id)

    def _hang_up(self, connection: WebSocketConnection, reason: str) -> None:
        transport = connection.transport
        self._runtime.lifecycle.hang_up(connection, Close.ABUSE, reason)
        if isinstance(transport, CanPause):
            transport.pause()  # what it goes on sending is not even read; the Close has its deadline


def _connection_of(connection: WebSocketConnection) -> str | None:
    return connection.id


def _principal_of(connection: WebSocketConnection) -> str | None:
    return connection.options.principal_id or None


def _address_of(connection: WebSocketConnection) -> str | None:
    return connection.client.network or None
