"""Responses: the packets of all of them, and those that no handler made."""

from __future__ import annotations

from collections import Counter as Tally
from itertools import count

from mycelia.kernel.messages.message import new_trace_id
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault, ProtocolFault, Request, Response, from_mapping
from mycelia.protocol.wire.request_metadata import wants_no_reply
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage, WholeMessage, Work
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.scheduling.task_owner import TaskOwner
from mycelia.serving.error_mapping import standard_error
from mycelia.serving.internal_error import internal_error
from mycelia.serving.responses import error_response, pack_error_response

__all__ = ["Responder"]


class Responder:
    """Packs and sends responses. A response that cannot be encoded becomes an internal error.

    Args:
        transforms: The application's transforms.
        tasks: Owns the tasks in which `transform_outgoing` runs.
        counters: Counts refused requests.
    """

    def __init__(self, transforms: Transforms, tasks: TaskOwner, counters: EventCounters) -> None:
        self._transforms, self._tasks, self._counters = transforms, tasks, counters
        self._being_sent: Tally[str] = Tally()
        # Made without a Python frame, because every reply carries a trace id: a prefix of this process and a number.
        self.next_trace_id = map((new_trace_id() + ".%d").__mod__, count(1)).__next__

    def pack(self, link: Link, response: Response, route: Route | None = None) -> bytes:
        """Return the packet of a response; of an internal error if the response cannot be encoded.

        Args:
            link: The link that the packet is for.
            response: The response.
            route: The route whose handler made the response; its result is counted there.

        Returns:
            The packet.
        """
        try:
            packet = link.encoder.pack(response)
        except Exception as error:
            if route is not None:
                route.failed += 1
            fault = internal_error("a reply cannot be encoded", link.id, error)
            return pack_error_response(link.encoder.pack, fault, response.correlation_id, self.next_trace_id())
        if route is not None:
            route.handled += 1
        return packet

    def send(self, link: Link, response: Response) -> None:
        """Send a response at once, or through `transform_outgoing` if the application has one."""
        if self._transforms.outgoing is None:
            link.push(self.pack(link, response))
            return
        self._being_sent[link.id] += 1
        task = self._tasks.spawn(self._send_transformed(link, response), name=f"mycelia-response-{link.id}")
        task.add_done_callback(lambda done: self._was_sent(link.id))

    def is_sending(self, link: Link) -> bool:
        """Return True if a response of this link is in `transform_outgoing`."""
        return link.id in self._being_sent

    def fail(self, link: Link, fault: ProtocolFault) -> None:
        """Answer a message that violates the wire language."""
        answer = Fault(fault.code, fault.message, fault.details)
        self.send(link, error_response(answer, fault.correlation_id, self.next_trace_id()))

    def refuse(self, link: Link, work: Work) -> None:
        """Answer OVERLOADED to a request that is not accepted."""
        self._counters.add(Counter.REFUSED)
        if isinstance(work, UntransformedMessage):
            try:
                envelope = from_mapping(work.value)
            except ProtocolFault as fault:
                self.fail(link, fault)
                return
            if isinstance(envelope, Response):
                return
            work = envelope
        if isinstance(work, WholeMessage):
            work = work.envelope
        if isinstance(work, Request) and not wants_no_reply(work.metadata):
            overloaded = standard_error(Code.OVERLOADED, retryable=True)
            self.send(link, error_response(overloaded, work.correlation_id, self.next_trace_id()))

    async def _send_transformed(self, link: Link, response: Response) -> None:
        link.push(await self._transforms.pack(response, link, "-"))

    def _was_sent(self, connection_id: str) -> None:
        self._being_sent[connection_id] -= 1
        if not self._being_sent[connection_id]:
            del self._being_sent[connection_id]
