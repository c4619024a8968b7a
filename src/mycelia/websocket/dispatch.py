"""Envelope → Message → handler → envelope: the only place where the wire and the kernel are both known.

A client's request goes, in this order, to a handler given to `register_message_handler`, to an exposed route
of the owning subsystem, to the application's own handler of `routing.default_path`; else the answer is
NOT_FOUND, and a private path looks like an absent one (architecture §4). Nothing that a handler raises reaches
the client as text; it gets a code, and an error id that the log holds.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mycelia.errors import HandlerError, InvalidMessage, InvalidPath, MyceliaError, NoRoute, NoSuchSubsystem, Overloaded
from mycelia.kernel.caller import CURRENT
from mycelia.kernel.message import new_trace_id, valid_trace_id
from mycelia.kernel.outcome import read
from mycelia.kernel.path import fill
from mycelia.kernel.router import NO_PARAMS, Route, Router
from mycelia.protocol.codes import Code
from mycelia.protocol.envelope import Event, Fault, ProtocolFault, Request, Response, ResponseMetadata, from_mapping, to_mapping
from mycelia.websocket.config import ConnectionConfig
from mycelia.websocket.inbound import ClientMessage
from mycelia.websocket.worker import Work, Worker

if TYPE_CHECKING:
    from mycelia.websocket.connection import WebSocketConnection
    from mycelia.websocket.runtime import Runtime

__all__ = ["Dispatch"]

logger = logging.getLogger("mycelia.websocket")

_TEXTS: Mapping[str, str] = {
    Code.NOT_FOUND: "no such path",
    Code.UNAUTHORIZED: "sign in first",
    Code.FORBIDDEN: "not allowed",
    Code.INVALID_PATH: "the path is not valid",
    Code.INVALID_BODY: "the body is not valid",
    Code.INVALID_MESSAGE: "the message is not valid",
    Code.OVERLOADED: "too busy; try again later",
    Code.TIMEOUT: "no answer in time",
    Code.DISABLED: "switched off here",
    Code.CONNECTION_NOT_FOUND: "no such connection",
    Code.CANCELLED: "cancelled",
    Code.UNSUPPORTED_DATA: "expected text, got a binary message",
    Code.HANDLER_ERROR: "the handler failed",
}
# What a handler may raise so that its own client learns the code; anything else is HANDLER_ERROR.
_SPEAKING = frozenset({Code.UNAUTHORIZED, Code.FORBIDDEN, Code.INVALID_BODY, Code.INVALID_PATH, Code.OVERLOADED})


class Dispatch:
    """Decodes, routes, runs and answers the messages of all connections of one subsystem."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.limits: ConnectionConfig = runtime.config.connection
        self.handlers = Router()  # of register_message_handler
        self.unmatched_responses = 0
        self.refused = 0
        routing = runtime.config.routing
        self._transform_in, self._transform_out = routing.transform_incoming, routing.transform_outgoing
        self._default_path = routing.default_path
        self._exact = runtime.system.exact

    # -- in ------------------------------------------------------------------------------------------

    def received(self, connection: WebSocketConnection, payload: bytes, binary: bool) -> None:
        """One message of an open connection."""
        codec = connection.dialect.codec
        if binary is not codec.binary:
            self._fail_unread(connection, ProtocolFault(Code.UNSUPPORTED_DATA, _unsupported(codec.binary)))
            return
        if self._transform_in is not None:
            self._enqueue(connection, payload, len(payload))
            return
        try:
            envelope = codec.decode(payload)
        except ProtocolFault as fault:
            self._fail_unread(connection, fault)
            return
        if type(envelope) is Response:
            if not connection.answered(envelope):
                self.unmatched_responses += 1
        else:
            assert not isinstance(envelope, Response)
            self._enqueue(connection, envelope, len(payload))

    def _enqueue(self, connection: WebSocketConnection, work: Work, size: int) -> None:
        worker = connection.worker
        if worker is None:
            worker = connection.worker = Worker(connection, self)
        worker.put(work, size)

    def refuse(self, connection: WebSocketConnection, work: Work) -> None:
        """Answers a request that found the backlog full."""
        self.refused += 1
        if isinstance(work, Event):
            return
        correlation_id = work.correlation_id if isinstance(work, Request) else None
        fault = Fault(Code.OVERLOADED, _TEXTS[Code.OVERLOADED], None, True)
        connection.push(self._pack(connection, fault_response(fault, correlation_id, new_trace_id())))

    def _fail_unread(self, connection: WebSocketConnection, fault: ProtocolFault) -> None:
        answer = Fault(fault.code, fault.message, fault.details)
        connection.push(self._pack(connection, fault_response(answer, fault.correlation_id, new_trace_id())))

    # -- run -----------------------------------------------------------------------------------------

    async def answer(self, connection: WebSocketConnection, work: Work, *, beside: bool = False) -> bytes | None:
        """Runs one request and returns the packet of its reply; None when nothing is to be sent."""
        if type(work) is bytes:
            try:
                transformed = await self._transformed(connection, work)
            except ProtocolFault as fault:
                self._fail_unread(connection, fault)
                return None
            if transformed is None:
                return None
            work = transformed
        assert not isinstance(work, bytes)
        if type(work) is Event:
            await self._handle_event(connection, work)
            return None
        assert isinstance(work, Request)
        metadata = work.metadata
        trace_id = None
        silent = False
        timeout = None
        if metadata is not None:
            trace_id = metadata.get("traceId")
            if trace_id is not None and not valid_trace_id(trace_id):
                trace_id = None
            silent = metadata.get("noReply") is True
            timeout = _timeout(metadata.get("timeoutMs"))
        if trace_id is None:
            trace_id = new_trace_id()
        route: Route | None = None
        try:
            path = work.path
            found = self._exact.get(path) if path is not None and not len(self.handlers) else None
            if found is not None and found.expose:
                route = found
                params: Mapping[str, str] = NO_PARAMS
                message = ClientMessage(found.path, work.body, connection, work, trace_id)
            else:
                route, params, message = self._resolve(connection, work, trace_id)
            if route.concurrent and not beside and connection.worker is not None:
                if connection.worker.overlap(work):
                    return None
                raise Overloaded("concurrent requests of one connection", self.limits.concurrent_requests)
            options = connection.options
            CURRENT.set((route, message, options))
            if timeout is None and not route.isolated:
                value = route.call(message, params, options)
                if route.is_async or inspect.isawaitable(value):
                    value = await value
            else:
                value = await self._run_apart(route, message, params, timeout)
            route.handled += 1
            outcome = read(value)
            if outcome.success:
                response = Response(True, outcome.data, work.correlation_id, None, ResponseMetadata(trace_id, _now()))
            else:
                error = outcome.error
                assert error is not None
                fault = Fault(error.code, error.message, error.details, error.retryable)
                response = fault_response(fault, work.correlation_id, trace_id, outcome.data)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or connection.worker is None or not connection.is_open:
                raise
            while task.uncancel():
                pass
            response = fault_response(Fault(Code.CANCELLED, _TEXTS[Code.CANCELLED]), work.correlation_id, trace_id)
        except Exception as error:
            response = fault_response(self._fault(error, route, connection, trace_id), work.correlation_id, trace_id)
        if silent:
            return None
        if self._transform_out is not None:
            return await self._transformed_out(connection, response)
        return self._pack(connection, response)

    async def _run_apart(
        self, route: Route, message: ClientMessage, params: Mapping[str, str], timeout: float | None
    ) -> Any:
        """Runs a handler under a deadline, or in a task (and context) of its own."""
        options = message.connection.options

        async def run() -> Any:
            CURRENT.set((route, message, options))
            value = route.call(message, params, options)
            return await value if inspect.isawaitable(value) else value

        if not route.isolated:
            async with asyncio.timeout(timeout):
                return await run()
        task = self.runtime.own(run(), name=f"mycelia-isolated-{message.connection.id}")
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(task)
        finally:
            task.cancel()

    def _resolve(
        self, connection: WebSocketConnection, work: Request, trace_id: str
    ) -> tuple[Route, Mapping[str, str], ClientMessage]:
        path = work.path
        if path is None:
            return self._default(connection, work, trace_id)
        filled, _ = fill(path, work.body)
        found = self.handlers.match(filled)
        if found is None:
            try:
                route, params = self.runtime.system.resolve(filled)
            except (NoRoute, NoSuchSubsystem):
                pass
            else:
                if route.expose or self.runtime.exposes(route.path):
                    found = route, params
        if found is not None:
            return found[0], found[1], ClientMessage(filled, work.body, connection, work, trace_id)
        if self.runtime.default_is_own:
            return self._default(connection, work, trace_id)
        raise NoRoute(path)

    def _default(
        self, connection: WebSocketConnection, work: Request | Event, trace_id: str
    ) -> tuple[Route, Mapping[str, str], ClientMessage]:
        route, params = self.runtime.system.resolve(self._default_path)
        return route, params, ClientMessage(self._default_path, to_mapping(work), connection, work, trace_id)

    async def _handle_event(self, connection: WebSocketConnection, event: Event) -> None:
        route: Route | None = None
        trace_id = new_trace_id()
        try:
            route, params, message = self._default(connection, event, trace_id)
            CURRENT.set((route, message, connection.options))
            value = route.call(message, params, connection.options)
            if inspect.isawaitable(value):
                await value
            route.handled += 1
        except Exception as error:
            self._fault(error, route, connection, trace_id)

    # -- faults and transforms -----------------------------------------------------------------------

    def _fault(
        self, error: Exception, route: Route | None, connection: WebSocketConnection, trace_id: str
    ) -> Fault:
        """What the client is told about an exception; what it is not told is logged under an error id."""
        if route is not None:
            route.failed += 1
        if isinstance(error, TimeoutError):
            return Fault(Code.TIMEOUT, _TEXTS[Code.TIMEOUT], None, True)
        if isinstance(error, MyceliaError):
            if route is None or error.code in _SPEAKING:
                text = _TEXTS.get(error.code, _TEXTS[Code.HANDLER_ERROR])
                details = error.details
                if route is None and isinstance(error, (NoRoute, InvalidPath, NoSuchSubsystem)):
                    details = details if isinstance(error, InvalidPath) else None
                return Fault(error.code, text, details, error.retryable)
            if isinstance(error, HandlerError) and error.__cause__ is None:
                return Fault(error.code, error.message, error.details, error.retryable)
        error_id = uuid4().hex
        logger.error(
            "handler of %s failed (error %s, connection %s, trace %s)",
            route.path if route is not None else "no route",
            error_id,
            connection.id,
            trace_id,
            exc_info=error,
        )
        return Fault(Code.HANDLER_ERROR, _TEXTS[Code.HANDLER_ERROR], {"errorId": error_id})

    def _pack(self, connection: WebSocketConnection, response: Response) -> bytes:
        try:
            return connection.dialect.pack(response)
        except InvalidMessage as error:
            metadata = response.metadata
            trace_id = metadata.trace_id if isinstance(metadata, ResponseMetadata) else new_trace_id()
            fault = self._fault(error, None, connection, trace_id)
            del fault
            error_id = uuid4().hex
            logger.error("a reply cannot be encoded (error %s, connection %s): %s", error_id, connection.id, error)
            apology = Fault(Code.HANDLER_ERROR, _TEXTS[Code.HANDLER_ERROR], {"errorId": error_id})
            return connection.dialect.pack(fault_response(apology, response.correlation_id, trace_id))

    async def _transformed(self, connection: WebSocketConnection, payload: bytes) -> Request | Event | None:
        value = connection.dialect.codec.decode_value(payload)
        assert self._transform_in is not None
        try:
            value = self._transform_in(value)
            if inspect.isawaitable(value):
                value = await value
        except Exception:
            error_id = uuid4().hex
            logger.exception("transform_incoming failed (error %s, connection %s)", error_id, connection.id)
            raise ProtocolFault(Code.INVALID_MESSAGE, _TEXTS[Code.INVALID_MESSAGE], {"errorId": error_id}) from None
        envelope = from_mapping(value)
        if isinstance(envelope, Response):
            if not connection.answered(envelope):
                self.unmatched_responses += 1
            return None
        return envelope

    async def _transformed_out(self, connection: WebSocketConnection, response: Response) -> bytes | None:
        assert self._transform_out is not None
        try:
            value = self._transform_out(to_mapping(response))
            if inspect.isawaitable(value):
                value = await value
            return connection.dialect.pack_value(value)
        except Exception:
            error_id = uuid4().hex
            logger.exception("transform_outgoing failed (error %s, connection %s)", error_id, connection.id)
            fault = Fault(Code.HANDLER_ERROR, _TEXTS[Code.HANDLER_ERROR], {"errorId": error_id})
            return self._pack(connection, fault_response(fault, response.correlation_id, new_trace_id()))


def fault_response(fault: Fault, correlation_id: Any, trace_id: str, data: Any = None) -> Response:
    """The envelope of a failure."""
    return Response(False, data, correlation_id, fault, ResponseMetadata(trace_id, _now()))


def _now() -> int:
    return int(time() * 1000)


def _timeout(given: Any) -> float | None:
    usable = isinstance(given, (int, float)) and not isinstance(given, bool) and 0 < given <= 86_400_000
    return given / 1000 if usable else None


def _unsupported(binary: bool) -> str:
    return f"expected a {'binary' if binary else 'text'} message with this codec"
