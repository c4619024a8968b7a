"""What clients send, as work: decoded where it is small, put into the backlog of the connection's worker.

A large message is decoded when its turn comes, since decoded values can be twenty times as large as their bytes; until
then, and when it is refused, only what tells envelopes apart is read of it.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, Event, ProtocolFault, Request, Response
from mycelia.realtime.connection.encoder import LARGE_BYTES
from mycelia.realtime.inbound.worker import Raw, Work, Worker
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.scheduling.fair_scheduler import LONG_ITERATION

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.inbound.dispatcher import Dispatch

__all__ = ["Intake"]


class Intake:
    """Takes the messages of all open connections of one subsystem."""

    def __init__(self, dispatch: Dispatch, transforms: Transforms, responder: Responder) -> None:
        self._dispatch, self._transforms, self._responder = dispatch, transforms, responder
        self._plain = transforms.incoming is None
        self.unmatched_responses = 0

    def received(self, connection: WebSocketConnection, payload: bytes, binary: bool) -> None:
        """One message of an open connection: decodes it and puts it into the worker's backlog.

        At the bound of the backlog reading pauses.
        """
        connection.active_at = time()
        dialect = connection.dialect
        work: Work = None
        try:
            if binary is not dialect.binary:
                kind = "a binary" if dialect.binary else "a text"
                raise ProtocolFault(Code.UNSUPPORTED_DATA, f"expected {kind} message with this codec")
            large = len(payload) > LARGE_BYTES
            if large and (connection.asking is None or not self._may_be_awaited(connection, payload)):
                pass  # it can be decoded when its turn comes
            elif self._plain:
                envelope = dialect.decode_large(payload) if large else dialect.decode(payload)
                if type(envelope) is Response:
                    self._answered(connection, envelope)
                    return
                work = envelope  # type: ignore[assignment]  # mypy does not narrow a union by `type(x) is`
            else:
                work = Raw(dialect.decode_value(payload))
                asking = connection.asking
                if (
                    asking is not None
                    and isinstance(work.value, dict)
                    and asking.claims(work.value.get("correlationId"))
                ):
                    # A response that a handler awaits does not wait behind it.
                    self._dispatch.runtime.own(self._answer_quietly(connection, work), name="mycelia-response")
                    return
        except ProtocolFault as fault:
            self._fail(connection, payload, fault)
            return
        worker = connection.worker
        if worker is None:
            worker = connection.worker = Worker(connection, self._dispatch)
        worker.put(work, payload)

    def refuse(self, connection: WebSocketConnection, work: Work, payload: bytes) -> None:
        """Answers a message that found the backlog full. `work` is what has been made of it, None for nothing yet; a
        response that is awaited is still given to whoever awaits it.
        """
        if work is None:
            envelope = connection.dialect.skim(payload) if len(payload) > LARGE_BYTES else None
            if isinstance(envelope, Response):
                asking = connection.asking
                if asking is None or not asking.awaits(envelope.correlation_id):
                    self.unmatched_responses += 1
                    return
                envelope = None
            work = self.decode(connection, payload) if envelope is None else envelope
        self._responder.refuse(connection, work)

    def _may_be_awaited(self, connection: WebSocketConnection, payload: bytes) -> bool:
        """Whether a large message may be the response that a handler waits for, and must not wait behind it."""
        return not self._plain or type(connection.dialect.skim(payload)) is Response

    def decode(self, connection: WebSocketConnection, payload: bytes, *, counted: bool = False) -> Work:
        """What a large message holds; None when that has been dealt with."""
        dialect = connection.dialect
        try:
            if not counted:
                dialect.check_count(payload)
            if not self._plain:
                return Raw(dialect.codec.decode_value(payload))
            envelope = dialect.decode(payload)
        except ProtocolFault as fault:
            self._fail(connection, payload, fault)
            return None
        return self._unless_response(connection, envelope)

    async def decode_in_turn(self, connection: WebSocketConnection, payload: bytes) -> Work:
        """What a large message holds, with a turn of the loop for each piece of the work; None when dealt with."""
        batons = self._dispatch.batons
        await batons.acquire(exclusive=True)
        began = monotonic()
        try:
            connection.dialect.check_count(payload)
        except ProtocolFault as fault:
            await batons.acquire(exclusive=True)
            self._fail(connection, payload, fault)
            return None
        if monotonic() - began > LONG_ITERATION:
            await batons.acquire(exclusive=True)
            began = monotonic()
        work = self.decode(connection, payload, counted=True)
        if monotonic() - began > LONG_ITERATION:
            await batons.acquire(exclusive=True)  # what follows, and its reply, may take as long once more
        return work

    async def transformed(self, connection: WebSocketConnection, raw: Raw) -> Request | Event | None:
        """What the application's transform makes of a message; None when that has been dealt with."""
        try:
            envelope = await self._transforms.read(raw, connection.id)
        except ProtocolFault as fault:
            self._responder.fail(connection, fault)
            return None
        return self._unless_response(connection, envelope)

    def _fail(self, connection: WebSocketConnection, payload: bytes, fault: ProtocolFault) -> None:
        """Answers what cannot be decoded; a large message that was not looked at is asked for its correlation id."""
        if fault.correlation_id is None and len(payload) > LARGE_BYTES:
            outline = connection.dialect.skim(payload)
            fault.correlation_id = outline.correlation_id if isinstance(outline, Request) else None
        self._responder.fail(connection, fault)

    def _unless_response(self, connection: WebSocketConnection, envelope: Envelope) -> Request | Event | None:
        """The envelope, but a response is given to whoever awaits it."""
        if isinstance(envelope, Response):
            self._answered(connection, envelope)
            return None
        return envelope

    async def _answer_quietly(self, connection: WebSocketConnection, raw: Raw) -> None:
        envelope = await self.transformed(connection, raw)
        if envelope is not None:
            if connection.worker is None:
                connection.worker = Worker(connection, self._dispatch)
            connection.worker.put(envelope, b"")

    def _answered(self, connection: WebSocketConnection, response: Response) -> None:
        if not (connection.asking is not None and connection.asking.answered(response)):
            self.unmatched_responses += 1
