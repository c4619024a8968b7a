"""Decoding of client messages, and their rejection.

A large message is decoded when its turn comes, because decoded values can take twenty times the memory of the encoded
bytes. Until then, and when it is refused, only its header fields are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.envelope import Envelope, Event, ProtocolFault, Request, Response
from mycelia.realtime.connection.encoder import LARGE_BYTES
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage, WholeMessage, Work
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.scheduling.fair_scheduler import LONG_ITERATION, FairScheduler

__all__ = ["Decoder"]


class Decoder:
    """Turns the payloads of one subsystem's clients into work, and delivers responses to the requests that wait.

    Args:
        transforms: The application's transforms.
        responder: Answers invalid and refused messages.
        scheduler: Shares the event loop between large messages.
        counters: Counts responses that no request waits for.
        exact: The routes with literal paths, live.
        default_path: The default path. If the application handles it itself, its handler gets every key that the
            client sent, so messages are then decoded as plain values.
    """

    def __init__(
        self,
        transforms: Transforms,
        responder: Responder,
        scheduler: FairScheduler,
        counters: EventCounters,
        exact: Mapping[str, Route],
        default_path: str,
    ) -> None:
        self._transforms, self._responder = transforms, responder
        self._scheduler, self._counters = scheduler, counters
        self._exact, self._default_path = exact, default_path
        self.transforms_messages = transforms.incoming is not None

    @property
    def decodes_envelopes(self) -> bool:
        """True if messages are decoded as envelopes: no transform and no handler needs the plain value."""
        default = self._exact.get(self._default_path)
        return not self.transforms_messages and (default is None or default.default)

    def decode(self, link: Link, payload: bytes) -> Work:
        """Decode a message of any size; return None if it needs nothing more.

        Raises:
            ProtocolFault: The message is not valid.
        """
        encoder = link.encoder
        if self.transforms_messages:
            return UntransformedMessage(encoder.codec.decode_value(payload))
        if self.decodes_envelopes:
            return self._unless_response(link, encoder.decode(payload))
        envelope, value = encoder.decode_whole(payload)
        if isinstance(envelope, Response):
            self.deliver(link, envelope)
            return None
        if isinstance(envelope, Request) and (route := self._exact.get(envelope.path or "")) and route.expose:
            return envelope  # it does not reach the default path
        return WholeMessage(envelope, value)

    async def decode_in_turn(self, link: Link, payload: bytes) -> Work:
        """Decode a large message. Each step waits for the scheduler. Return None if the message needs nothing more."""
        scheduler = self._scheduler
        await scheduler.acquire(exclusive=True)
        began = monotonic()
        try:
            link.encoder.check_count(payload)
        except ProtocolFault as fault:
            await scheduler.acquire(exclusive=True)
            self.fail(link, payload, fault)
            return None
        if monotonic() - began > LONG_ITERATION:
            await scheduler.acquire(exclusive=True)
            began = monotonic()
        try:
            work = self.decode(link, payload)
        except ProtocolFault as fault:
            self.fail(link, payload, fault)
            work = None
        if monotonic() - began > LONG_ITERATION:
            await scheduler.acquire(exclusive=True)  # running the handler and encoding its reply may take as long
        return work

    async def transform(self, link: Link, message: UntransformedMessage) -> Request | Event | None:
        """Apply `transform_incoming`; return None if the message needs nothing more."""
        try:
            envelope = await self._transforms.read(message, link.id)
        except ProtocolFault as fault:
            self._responder.fail(link, fault)
            return None
        return self._unless_response(link, envelope)

    def refuse(self, link: Link, work: Work, payload: bytes) -> None:
        """Answer OVERLOADED to a message that is not accepted. A response that a request waits for is delivered.

        Args:
            link: The link that the message came from.
            work: The decoded message; None if it has not been decoded.
            payload: The encoded message.
        """
        if work is None:
            envelope = link.encoder.peek(payload) if len(payload) > LARGE_BYTES else None
            if isinstance(envelope, Response):
                pending = link.session.pending_requests
                if pending is None or not pending.awaits(envelope.correlation_id):
                    self._counters.add(Counter.UNMATCHED_RESPONSES)
                    return
                envelope = None
            if envelope is None:
                try:
                    link.encoder.check_count(payload)
                    work = self.decode(link, payload)
                except ProtocolFault as fault:
                    self.fail(link, payload, fault)
            else:
                work = envelope
        self._responder.refuse(link, work)

    def fail(self, link: Link, payload: bytes, fault: ProtocolFault) -> None:
        """Answer a message that cannot be decoded, under its correlation id if that can be read."""
        if fault.correlation_id is None and len(payload) > LARGE_BYTES:
            header = link.encoder.peek(payload)
            fault.correlation_id = header.correlation_id if isinstance(header, Request) else None
        self._responder.fail(link, fault)

    def deliver(self, link: Link, response: Response) -> None:
        """Give a response to the request that waits for it; count it if none does."""
        pending = link.session.pending_requests
        if pending is None or not pending.answered(response):
            self._counters.add(Counter.UNMATCHED_RESPONSES)

    def _unless_response(self, link: Link, envelope: Envelope) -> Request | Event | None:
        """Return the envelope; deliver it and return None if it is a response."""
        if isinstance(envelope, Response):
            self.deliver(link, envelope)
            return None
        return envelope
