"""Takes what clients send: decodes a small message and puts it into the backlog of the connection's worker."""

from __future__ import annotations

from time import time

from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import ProtocolFault, Response
from mycelia.realtime.connection.encoder import LARGE_BYTES
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import LinkWorker, UntransformedMessage, Work
from mycelia.realtime.inbound.decoder import Decoder
from mycelia.realtime.inbound.worker import Worker, WorkerPorts

__all__ = ["Receiver"]


class Receiver:
    """Takes the messages of all open connections of one subsystem.

    Args:
        decoder: Decodes messages.
        workers: What the workers share.
    """

    def __init__(self, decoder: Decoder, workers: WorkerPorts) -> None:
        self._decoder, self._workers = decoder, workers

    def receive(self, link: Link, payload: bytes, binary: bool) -> None:
        """Take one message of an open link. At the bound of the backlog the peer is paused.

        A large message is decoded when its turn comes. It is decoded here only if it may be a response that a handler
        waits for.
        """
        link.active_at = time()
        encoder, decoder = link.encoder, self._decoder
        work: Work = None
        try:
            if binary is not encoder.binary:
                kind = "a binary" if encoder.binary else "a text"
                raise ProtocolFault(Code.UNSUPPORTED_DATA, f"expected {kind} message with this codec")
            if len(payload) > LARGE_BYTES:
                if self._may_be_awaited(link, payload):
                    encoder.check_count(payload)
                    work = decoder.decode(link, payload)
                    if work is None:
                        return
            elif decoder.decodes_envelopes:  # the ordinary case, without another call
                envelope = encoder.decode(payload)
                if type(envelope) is Response:
                    decoder.deliver(link, envelope)
                    return
                work = envelope  # type: ignore[assignment]  # mypy does not narrow a union by `type(x) is`
            else:
                work = decoder.decode(link, payload)
                if work is None:
                    return
        except ProtocolFault as fault:
            decoder.fail(link, payload, fault)
            return
        if type(work) is UntransformedMessage and self._take_response(link, work):
            return
        worker = link.worker
        if worker is None:
            worker = link.worker = Worker(link, self._workers)
        worker.put(work, payload)

    def _may_be_awaited(self, link: Link, payload: bytes) -> bool:
        """Return True if a large message may be the response that a handler waits for."""
        if link.session.pending_requests is None:
            return False
        return self._decoder.transforms_messages or type(link.encoder.peek(payload)) is Response

    def _take_response(self, link: Link, message: UntransformedMessage) -> bool:
        """Transform a response that a handler waits for. Return False if the message is not such a response.

        The response must not wait behind the handler in the backlog.
        """
        pending, value = link.session.pending_requests, message.value
        if pending is None or not isinstance(value, dict) or not pending.claims(value.get("correlationId")):
            return False
        self._workers.tasks.spawn(self._transform_response(link, message), name="mycelia-response")
        return True

    async def _transform_response(self, link: Link, message: UntransformedMessage) -> None:
        envelope = await self._decoder.transform(link, message)
        if envelope is not None and link.is_open:
            worker: LinkWorker | None = link.worker
            if worker is None:
                worker = link.worker = Worker(link, self._workers)
            worker.put(envelope, b"")
