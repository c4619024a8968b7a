"""Responses to a client that no handler made, and the packets of all of them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from mycelia.kernel.messages.message import new_trace_id
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Fault, ProtocolFault, Request, Response, from_mapping
from mycelia.realtime.inbound.client_message import silent
from mycelia.realtime.inbound.worker import Raw, Work
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.serving.error_responses import apology, failure, packed_failure, plain_fault

if TYPE_CHECKING:
    from mycelia.kernel.routing.router import Route
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Responder"]


class Responder:
    """Packs and sends; whatever cannot be encoded becomes an apology that can."""

    def __init__(self, runtime: Runtime, transforms: Transforms) -> None:
        self._runtime, self._transforms = runtime, transforms
        self.refused = 0
        # Made without a Python frame, since every reply bears one: the prefix is this process's, the number ours.
        self.next_trace_id = map((new_trace_id() + ".%d").__mod__, count(1)).__next__

    def pack(self, connection: WebSocketConnection, response: Response, done: Route | None = None) -> bytes:
        """The packet of a response; of an apology when the handler's data cannot be encoded.

        `done` is the route whose handler made it; what came of it is counted there.
        """
        try:
            packet = connection.dialect.pack(response)
            if done is not None:
                done.handled += 1
            return packet
        except Exception as error:
            if done is not None:
                done.failed += 1
            fault = apology("a reply cannot be encoded", connection.id, error)
            return packed_failure(connection.dialect.pack, fault, response.correlation_id, self.next_trace_id())

    def send(self, connection: WebSocketConnection, response: Response) -> None:
        """Sends a response at once, or through `transform_outgoing` like any other."""
        if self._transforms.outgoing is None:
            connection.push(self.pack(connection, response))
        else:
            self._runtime.own(self._send_transformed(connection, response), name=f"mycelia-response-{connection.id}")

    def fail(self, connection: WebSocketConnection, fault: ProtocolFault) -> None:
        """Answers a message that breaks the wire language."""
        answer = Fault(fault.code, fault.message, fault.details)
        self.send(connection, failure(answer, fault.correlation_id, self.next_trace_id()))

    def refuse(self, connection: WebSocketConnection, work: Work) -> None:
        """Answers a request that found the backlog full."""
        self.refused += 1
        if isinstance(work, Raw):
            try:
                envelope = from_mapping(work.value)
            except ProtocolFault as fault:
                self.fail(connection, fault)
                return
            if isinstance(envelope, Response):
                return
            work = envelope
        if isinstance(work, Request) and not silent(work.metadata):
            overloaded = plain_fault(Code.OVERLOADED, retryable=True)
            self.send(connection, failure(overloaded, work.correlation_id, self.next_trace_id()))

    async def _send_transformed(self, connection: WebSocketConnection, response: Response) -> None:
        connection.push(await self._transforms.pack(response, connection, "-"))
