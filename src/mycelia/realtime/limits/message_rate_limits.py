"""Rate limits of messages by connection, principal and address, and of control frames.

A message above a rate is answered RATE_LIMITED in its turn, with the milliseconds after which the client may try again.
A client that goes on after many such rejections is disconnected (4429). If nothing is limited, the link hands its
messages to the receiver directly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mycelia.errors import RateLimited
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.envelope import Envelope, Request, Response
from mycelia.protocol.wire.request_metadata import wants_no_reply
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import RateLimitedRequest, Receive
from mycelia.realtime.inbound.receiver import Receiver
from mycelia.realtime.limits.abuse_limit import AbuseLimit, close_for_abuse
from mycelia.realtime.outbound.responder import Responder
from mycelia.scheduling.rate_limiter import RateLimiter
from mycelia.serving.error_mapping import error_for
from mycelia.serving.responses import error_response
from mycelia.transports.seam import Control

__all__ = ["MessageRateLimits"]

Rule = tuple[Callable[[Link], str | None], RateLimiter, Counter]


class MessageRateLimits:
    """Applies the message rates of one subsystem to its links.

    Args:
        limits: The section `limits`.
        receiver: Takes the messages that are within the limits.
        responder: Answers the messages that are not.
        abuse: Counts rejections.
        counters: Counts rejections by limit.
    """

    def __init__(
        self,
        limits: LimitsConfig,
        receiver: Receiver,
        responder: Responder,
        abuse: AbuseLimit,
        counters: EventCounters,
    ) -> None:
        self._receiver, self._responder, self._abuse, self._counters = receiver, responder, abuse, counters
        self._rules: tuple[Rule, ...] = tuple(
            (owner_of, limiter, counter)
            for rate, owner_of, counter in (
                (limits.rate_per_connection, _connection_of, Counter.RATE_PER_CONNECTION),
                (limits.rate_per_principal, _principal_of, Counter.RATE_PER_PRINCIPAL),
                (limits.rate_per_address, _address_of, Counter.RATE_PER_ADDRESS),
            )
            if (limiter := RateLimiter.of(rate)) is not None
        )
        self._control_frames = RateLimiter.of(limits.control_rate)
        self._small_fragment_bytes = limits.small_fragment_bytes

    def receiver(self, link: Link) -> Receive:
        """Return what takes the messages of an open link: the receiver, behind the limits that apply to the link."""
        accept = partial(self._receiver.receive, link)
        rules = self._rules
        own = link.session.rate_limiter
        if own is not None:
            rules = (*rules, (_connection_of, own, Counter.RATE_PER_CONNECTION))
        return partial(self._receive, link, accept, rules) if rules else accept

    def allows_control(self, link: Link, kind: Control, payload: bytes) -> bool:
        """Count a ping, a pong or a small fragment. Return False if it was one too many and the link was closed."""
        limiter = self._control_frames
        if limiter is None or (kind is Control.FRAGMENT and len(payload) >= self._small_fragment_bytes):
            return True
        if not limiter.take(link.id):
            return True
        self._counters.add(Counter.CONTROL_RATE)
        close_for_abuse(link, "too many control frames or small fragments")
        return False

    def route_limited(self, link: Link) -> None:
        """Count a message that the rate limit of a route refused."""
        self._counters.add(Counter.RATE_PER_ROUTE)
        self._abuse.refused(link)

    def forget(self, link: Link) -> None:
        """Forget a link that is gone."""
        own = link.session.rate_limiter
        if own is not None:  # many connections may share it
            own.forget(link.id)
        self._abuse.forget(link.id)
        for limiter in (self._control_frames, *(rule[1] for rule in self._rules if rule[0] is _connection_of)):
            if limiter is not None:
                limiter.forget(link.id)

    def _receive(self, link: Link, accept: Receive, rules: tuple[Rule, ...], payload: bytes, binary: bool) -> None:
        for at, (owner_of, limiter, counter) in enumerate(rules):
            owner = owner_of(link)
            if owner is not None and (wait := limiter.take(owner)):
                for other_of, other, _ in rules[:at]:
                    other.give_back(other_of(link))
                self._counters.add(counter)
                self._refuse(link, accept, payload, binary, wait)
                return
        accept(payload, binary)

    def _refuse(self, link: Link, accept: Receive, payload: bytes, binary: bool, wait: float) -> None:
        """Answer a message above a rate, after the replies to earlier messages. Events and `noReply` get no answer."""
        envelope: Envelope = link.encoder.peek(payload) if binary is link.encoder.binary else Request()
        pending = link.session.pending_requests
        if isinstance(envelope, Response) and pending is not None:
            if pending.awaits(envelope.correlation_id):
                accept(payload, binary)
                return
            self._counters.add(Counter.UNMATCHED_RESPONSES)
        if self._abuse.refused(link) or not isinstance(envelope, Request) or wants_no_reply(envelope.metadata):
            return
        worker = link.worker
        if worker is not None and not worker.is_idle:
            worker.put(RateLimitedRequest(None, None, envelope.correlation_id, envelope.metadata, wait), payload)
            return
        trace_id = self._responder.next_trace_id()
        fault = error_for(RateLimited("a message", wait), None, link.id, trace_id)
        self._responder.send(link, error_response(fault, envelope.correlation_id, trace_id))


def _connection_of(link: Link) -> str | None:
    return link.id


def _principal_of(link: Link) -> str | None:
    return link.session.options.principal_id or None


def _address_of(link: Link) -> str | None:
    return link.session.client.network or None
