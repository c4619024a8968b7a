"""Envelope → Message → handler → envelope: the only place where the wire and the kernel are both known.

Where a request goes is `resolver`'s to say, what a client is told of a failure `faults`'. What is not found and
what is private look the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from inspect import isawaitable
from itertools import repeat
from time import monotonic, time
from typing import TYPE_CHECKING

from mycelia.errors import Overloaded, RequestTimeout
from mycelia.kernel.messages.context import CURRENT
from mycelia.kernel.routing.router import NO_PARAMS, Route
from mycelia.observability.counters import Limit
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Event, Request, Response, ResponseMetadata
from mycelia.realtime.inbound.client_message import ClientMessage, silent, timeout_of, trace_of
from mycelia.realtime.inbound.invoke import clear_cancellation, run
from mycelia.realtime.inbound.receiver import Intake
from mycelia.realtime.inbound.resolver import Resolver
from mycelia.realtime.inbound.worker import CORK_BYTES, SLICE, Raw, Work, Worker
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.scheduling.fair_scheduler import FairScheduler
from mycelia.serving.error_responses import failure, fault_of, outcome_response, plain_fault

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Dispatch"]

_MANY = 32  # who brings more requests at once than this waits for a baton


class Dispatch:
    """Decodes, routes, runs and answers the messages of all connections of one subsystem."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.limits = runtime.config.connection
        self.resolver = Resolver(runtime.system, runtime.subsystem.name, runtime.config.routing)
        self.batons = FairScheduler()
        self._transforms = Transforms(runtime.config.routing)
        self.responder = Responder(runtime, self._transforms)
        self.intake = Intake(self, self._transforms, self.responder)
        self._exact: Mapping[str, Route] = runtime.system.exact

    # -- the loop --------------------------------------------------------------------------------------

    async def work(self, worker: Worker, connection: WebSocketConnection) -> None:
        """Works off one connection's backlog until the worker leaves.

        The hottest code of the product. What an ordinary request (a literal, exposed path; no metadata) does not
        need is told apart by as few looks as possible and left to `answer`.
        """
        backlog, cork, loop = worker.backlog, worker.cork, worker.loop
        exact, dialect, options = self._exact, connection.dialect, connection.options
        pack, plain_replies = dialect.pack, self._transforms.outgoing is None
        next_trace_id = self.responder.next_trace_id
        if connection.client.trace_id is not None:
            next_trace_id = repeat(connection.client.trace_id).__next__
        seconds = self.runtime.config.limits.handler_timeout
        task = asyncio.current_task()
        assert task is not None
        while True:
            until = 0.0
            simple = plain_replies and not self.resolver.custom
            if len(backlog) > _MANY:
                await self.batons.acquire()
            while backlog:
                work, payload = backlog.popleft()
                worker.backlog_bytes -= len(payload)
                if connection.paused:
                    worker.relieved()
                if cork and worker.flush_handle is None:
                    # A handler that suspends lets this run, so no reply waits for a later handler.
                    worker.flush_handle = loop.call_soon(worker.flush)
                packet: bytes | None
                if (
                    type(work) is Request
                    and work.metadata is None
                    and simple
                    and (route := exact.get(work.path)) is not None  # type: ignore[arg-type]  # None is in no table
                    and route.direct
                ):
                    trace_id = next_trace_id()
                    try:
                        message = ClientMessage(route.path, work.body, connection, work, trace_id)
                        CURRENT.set((route, message, options))
                        if seconds:
                            worker.time(seconds)
                        value = route.call(message, NO_PARAMS, options)
                        if route.is_async or isawaitable(value):
                            value = await value
                        if type(value) is dict and len(value) == 2 and value.get("success") is True and "data" in value:
                            metadata = ResponseMetadata(trace_id, int(time() * 1000))
                            response = Response(True, value["data"], work.correlation_id, None, metadata)
                        else:
                            response = outcome_response(value, work.correlation_id, trace_id)
                        packet = pack(response)
                        route.handled += 1
                    except asyncio.CancelledError:
                        if self._leaving(connection):
                            raise
                        if worker.overdue:
                            response = self._timed_out(seconds, route, connection, work, trace_id)
                        else:
                            response = self._cancelled(route, work, trace_id)
                        packet = dialect.pack(response)
                    except Exception as error:
                        packet = self.responder.pack(connection, self._failed(error, route, connection, work, trace_id))
                    worker.began = 0.0
                else:
                    try:
                        packet = await self.answer(connection, work, payload)
                    except asyncio.CancelledError:
                        if self._leaving(connection):
                            raise
                        packet = None  # of an event's handler, or of a transform; nobody waits for an answer
                if worker.leaving:
                    return
                if task.cancelling():
                    await worker.clear_cancellation()
                if packet is not None and not backlog and connection.plain:
                    connection.write(packet)
                elif packet is not None:
                    if not cork:
                        connection.plain = False  # what others write must push this out first
                    cork.append(packet)
                    worker.cork_bytes += len(packet)
                    if worker.cork_bytes > CORK_BYTES:
                        worker.flush()
                if backlog:
                    now = monotonic()
                    if not until:
                        until = now + SLICE
                    elif now > until:
                        worker.flush()
                        await self.batons.acquire()
                        until = 0.0
            if cork:
                worker.flush()
            if worker.retiring and worker.ends:
                break
            # A sleeping worker holds nothing of the last request, which may have been large.
            work = payload = packet = value = message = response = None  # type: ignore[assignment]
            CURRENT.set(None)
            worker.asleep = asleep = loop.create_future()
            try:
                await asleep
            except asyncio.CancelledError:
                if self._leaving(connection):
                    raise
                worker.asleep = None  # a handler cancelled its task after it had returned
                await worker.clear_cancellation()
            if worker.leaving:
                return
        if connection.worker is worker and len(worker.tasks) == 1:  # else what overlaps still belongs to it
            connection.worker = None

    async def answer(
        self, connection: WebSocketConnection, work: Work, payload: bytes, *, beside: bool = False
    ) -> bytes | None:
        """Runs any request, event or untransformed message; None when nothing is to be sent."""
        trace_id = connection.client.trace_id or self.responder.next_trace_id()
        whole: object = payload
        if work is None:
            work = await self.intake.decode_in_turn(connection, payload)
        if isinstance(work, Raw):
            raw = work
            work = await self.intake.transformed(connection, raw)
            whole = raw.value
        if work is None:
            return None
        if isinstance(work, Event):
            await self._handle_event(connection, work, trace_id, whole)
            return None
        metadata = work.metadata or {}
        trace_id = trace_of(metadata) or trace_id
        route: Route | None = None
        done: Route | None = None  # whose handler has come to its end; counted when its answer is packed
        try:
            route, params, message = self.resolver.resolve(connection, work, trace_id, whole)
            if route.concurrent and not beside:
                if connection.worker is None or not connection.worker.overlap(work, payload):
                    raise Overloaded("concurrent requests of one connection", self.limits.concurrent_requests)
                return None
            value = await run(self.runtime, route, message, params, timeout_of(metadata))
            response = outcome_response(value, work.correlation_id, trace_id)
            done = route
        except asyncio.CancelledError:
            if self._leaving(connection):
                raise
            response = self._cancelled(route, work, trace_id)
        except Exception as error:
            response = self._failed(error, route, connection, work, trace_id)
        if silent(metadata):
            if done is not None:
                done.handled += 1
            return None
        if self._transforms.outgoing is not None:
            return await self._transforms.pack(response, connection, trace_id, done)
        return self.responder.pack(connection, response, done)

    async def _handle_event(self, connection: WebSocketConnection, event: Event, trace_id: str, whole: object) -> None:
        route: Route | None = None
        try:
            route, params, message = self.resolver.default(connection, event, trace_id, whole)
            await run(self.runtime, route, message, params, None)
            route.handled += 1
        except Exception as error:
            fault_of(error, route, connection.id, trace_id)

    # -- what went wrong -------------------------------------------------------------------------------

    def _failed(
        self,
        error: Exception,
        route: Route | None,
        connection: WebSocketConnection,
        work: Request,
        trace_id: str,
    ) -> Response:
        return failure(fault_of(error, route, connection.id, trace_id), work.correlation_id, trace_id)

    def _leaving(self, connection: WebSocketConnection) -> bool:
        """Whether a handler's cancellation is ours: its client is gone, or the server stops."""
        worker = connection.worker
        gone = worker.leaving if worker is not None else not connection.is_open
        return gone or self.runtime.draining

    def _timed_out(
        self, seconds: float, route: Route, connection: WebSocketConnection, work: Request, trace_id: str
    ) -> Response:
        """A handler took longer than any may, and has ended for that."""
        clear_cancellation()
        self.runtime.refusals.add(Limit.HANDLER_TIME)
        return self._failed(RequestTimeout(route.path, seconds), route, connection, work, trace_id)

    def _cancelled(self, route: Route | None, work: Request, trace_id: str) -> Response:
        """A handler ended in a cancellation of its own making, and its successors go on."""
        clear_cancellation()
        if route is not None:
            route.failed += 1
        return failure(plain_fault(Code.CANCELLED), work.correlation_id, trace_id)
