"""`connect`, `disconnect` exactly once, and `error`: what the application is told of a connection's life.

A connection whose application has nothing to say about `connect` is accepted at once, without a task. Else it
is pending until its handlers have answered: refused is only `success: false` or Unauthorized (4401), or the
code FORBIDDEN (4403); any other exception is 1011, the deadline 4408 (architecture §5).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from mycelia.auth.login_throttle import is_guess
from mycelia.errors import ConfigError, Forbidden, HandlerError, Unauthorized
from mycelia.kernel.messages.context import CURRENT
from mycelia.kernel.messages.message import new_trace_id
from mycelia.kernel.messages.outcome import read
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.router import NO_PARAMS, Route
from mycelia.protocol.wire.codes import Close, Code
from mycelia.protocol.ws.handshake import Handshake, public_view
from mycelia.realtime.authentication.first_message import FirstMessage
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.principal import identity_of
from mycelia.realtime.connection.state import Phase
from mycelia.realtime.inbound.client_message import ClientMessage
from mycelia.realtime.inbound.invoke import clear_cancellation
from mycelia.realtime.outbound.system_events import notice
from mycelia.serving.error_responses import apology

if TYPE_CHECKING:
    from mycelia.realtime.core import Runtime
    from mycelia.realtime.inbound.worker import Worker

__all__ = ["ConnectionEvent", "Lifecycle"]

logger = logging.getLogger("mycelia.websocket")

ConnectionEvent = Literal["connect", "disconnect", "error", "expiring"]
_EVENTS: tuple[ConnectionEvent, ...] = ("connect", "disconnect", "error", "expiring")


class Lifecycle:
    """Runs the application's handlers of connection events."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._handlers: dict[str, list[Route]] = {event: [] for event in _EVENTS}
        self._requests: dict[WebSocketConnection, Handshake] = {}
        self._connecting: dict[WebSocketConnection, asyncio.Task[Any]] = {}
        self._faults: dict[WebSocketConnection, tuple[int, str]] = {}
        self._told: set[WebSocketConnection] = set()  # `connect` was sent, `disconnect` is owed

    def register(self, event: ConnectionEvent, handler: Any) -> None:
        """Adds a handler that runs after the route of the event. ConfigError for an unknown event."""
        if event not in _EVENTS:
            raise ConfigError("event", f"expected one of {', '.join(_EVENTS)}, got {event!r}")
        pattern = Pattern.parse(f"{self._runtime.subsystem.name}://{event}")
        route = Route(pattern, handler, compile_plan(handler, pattern))
        self._handlers[event].append(route)
        self._runtime.subsystem.adopt(route)

    # -- what happens to a connection ------------------------------------------------------------------

    def expect(self, connection: WebSocketConnection, request: Handshake) -> None:
        """The gate accepted this handshake; keeps it for the `connect` message, if anybody wants one."""
        if self._routes("connect") or self._runtime.authentication.concerns(request):
            self._requests[connection] = request

    def opened(self, connection: WebSocketConnection) -> None:
        """The 101 is out."""
        request = self._requests.pop(connection, None)
        if request is None:
            self._told.add(connection)
            self._accept(connection)
            return
        self._connecting[connection] = self._runtime.own(
            self._connect(connection, request, self._runtime.authentication.listen(connection, request)),
            name=f"mycelia-connect-{connection.id}",
        )

    def expiring(self, connection: WebSocketConnection, left: float) -> None:
        """The credential of an open connection expires in `left` seconds."""
        if self._routes("expiring") and (identity := identity_of(connection)) is not None:
            body = {"connectionId": connection.id, **self._runtime.authentication.describe(identity)}
            self._runtime.own(self._tell("expiring", connection, body), name=f"mycelia-expiring-{connection.id}")

    def wants(self, event: ConnectionEvent) -> bool:
        """Whether the application has something to say about an event."""
        return bool(self._routes(event))

    def failed(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        """The connection is about to be closed for a fault: network, protocol or time."""
        if connection.phase is not Phase.CLOSED and connection not in self._faults:
            self._runtime.refusals.failed(code)
            self._faults.setdefault(connection, (int(code), reason))

    def hang_up(self, connection: WebSocketConnection, code: Close, reason: str) -> None:
        """Closes a connection for a fault, which `error` tells before `disconnect`."""
        self.failed(connection, code, reason)
        connection.close(code, reason)

    def closed(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        """The transport is gone. Called once per connection that was opened."""
        runtime = self._runtime
        runtime.heartbeat.end(connection)
        runtime.authentication.ended(connection)
        runtime.throttle.forget(connection)
        worker, connecting = connection.worker, self._connecting.pop(connection, None)
        if connecting is not None:
            connecting.cancel()
        if code == Close.ABNORMAL and connection.close_asked is None:
            self.failed(connection, code, "the connection was lost without a Close")
        connection.gone()
        fault = self._faults.pop(connection, None)
        if worker is None or fault is not None or connection.close_asked is not None or worker.idle:
            parting = False
            runtime.connections.leave(connection)
        else:  # its client said goodbye behind what it sent
            parting = runtime.connections.part(connection, runtime.config.limits.connections_per_address)
        if worker is not None and not parting:
            worker.leave()
        owed = connection in self._told
        self._told.discard(connection)
        if fault is not None:
            logger.info("connection %s failed: %d %s", connection.id, *fault)
        tells = (fault is not None and self._routes("error")) or self._routes("disconnect")
        if not (owed and tells) and not parting:
            runtime.connections.forget(connection)
            connection.forgotten()
            return
        farewell = self._farewell(connection, (code, reason), fault, connecting, worker)
        runtime.own(farewell, name=f"mycelia-disconnect-{connection.id}")

    # -- handlers ----------------------------------------------------------------------------------------

    def _routes(self, event: ConnectionEvent) -> list[Route]:
        """The application's handlers of an event: the route, unless it is the built-in one, then the others."""
        subsystem = self._runtime.subsystem
        found = subsystem.match(f"{subsystem.name}://{event}")
        own = [found[0]] if found is not None and not found[0].default else []
        return own + self._handlers[event]

    async def _connect(self, connection: WebSocketConnection, request: Handshake, first: FirstMessage | None) -> None:
        authentication = self._runtime.authentication
        guess = True  # whether a token that `connect` refuses may be one
        refusal: tuple[Close, str] | None = None
        deadline = asyncio.timeout_at(self._deadline(connection))
        try:
            async with deadline:
                if authentication.active:
                    refusal = await authentication.admit(connection, request, first)
                if refusal is None and connection.phase is Phase.PENDING:
                    self._told.add(connection)
                    refusal = await self._ask(connection, public_view(request))
        except (Unauthorized, Forbidden, HandlerError) as error:
            if error.code in (Code.UNAUTHORIZED, Code.FORBIDDEN):
                refusal, guess = _refused(error.code), is_guess(error)
            else:
                refusal = self._broken(connection, error)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                refusal = Close.AUTHENTICATION_TIMEOUT, "connect took too long"
                self.failed(connection, *refusal)
            else:
                refusal = self._broken(connection, error)
        except asyncio.CancelledError as error:
            if connection.phase is not Phase.PENDING or self._runtime.draining:
                raise
            clear_cancellation()  # of the handler's own making
            refusal = self._broken(connection, error)
        if guess and refusal is not None and refusal[0] is Close.NOT_AUTHENTICATED:
            authentication.turned_away(connection, request)
        self._connecting.pop(connection, None)
        if connection.phase is not Phase.PENDING:
            return
        if refusal is None:
            CURRENT.set(None)  # what begins here outlives the `connect` message, which holds the token
            self._accept(connection)
        else:
            connection.close(*refusal)

    async def _ask(self, connection: WebSocketConnection, body: dict[str, Any]) -> tuple[Close, str] | None:
        """How the application refuses a connection; None when it accepts."""
        for route in self._routes("connect"):
            refusal = _verdict(await self._call(route, connection, body))
            if refusal is not None:
                return refusal
        return None

    def _deadline(self, connection: WebSocketConnection) -> float:
        """By when it must be accepted, in the loop's time; counted from the TCP accept where that is known."""
        given = None if connection.transport is None else connection.transport.deadline
        if given is not None:
            return given
        return asyncio.get_running_loop().time() + self._runtime.config.connection.connection_timeout

    def _broken(self, connection: WebSocketConnection, error: BaseException) -> tuple[Close, str]:
        apology("a connect handler failed", connection.id, error, path=f"{self._runtime.subsystem.name}://connect")
        refusal = Close.INTERNAL_ERROR, "connect failed"
        self.failed(connection, *refusal)
        return refusal

    def _accept(self, connection: WebSocketConnection) -> None:
        greeting = notice(connection, "websocket.connected", self._introduction(connection))
        connection.accepted = True  # from here on it has a principal
        if not self._runtime.gate.claim(connection):
            connection.accepted = False
            connection.close(Close.ABUSE, "too many connections of this user")
            return
        self._runtime.connections.show(connection)
        self._runtime.heartbeat.begin(connection)
        connection.accept(greeting)
        self._runtime.authentication.accepted(connection)

    def _introduction(self, connection: WebSocketConnection) -> dict[str, Any]:
        limits = self._runtime.config.connection
        beat = {"interval": int(limits.ping_interval * 1000), "timeout": int(limits.ping_timeout * 1000)}
        identity = identity_of(connection)
        known = {} if identity is None else {"authentication": self._runtime.authentication.describe(identity)}
        return {"connectionId": connection.id, "heartbeat": beat, **known}

    async def _farewell(
        self,
        connection: WebSocketConnection,
        said: tuple[int, str],
        fault: tuple[int, str] | None,
        connecting: asyncio.Task[Any] | None,
        worker: Worker | None,
    ) -> None:
        """`error` if there was a fault, then `disconnect`, after everything else of the connection has ended."""
        seconds = self._runtime.config.connection.close_timeout
        try:
            tasks = [] if connecting is None else [connecting]
            if worker is not None:
                if not worker.leaving:
                    await worker.part(seconds)
                    self._runtime.connections.parted(connection)
                tasks += worker.tasks
            if tasks:
                await asyncio.wait(tasks, timeout=seconds)
            if fault is not None:
                body = {"code": Code.WEBSOCKET_ERROR.value, "closeCode": fault[0], "message": fault[1]}
                await self._tell("error", connection, {**body, "connectionId": connection.id})
            body = {
                "connectionId": connection.id,
                "code": said[0],
                "reason": said[1],
                "accepted": connection.accepted,
            }
            await self._tell("disconnect", connection, body)
        finally:
            self._runtime.connections.forget(connection)
            connection.forgotten()

    async def _tell(self, event: ConnectionEvent, connection: WebSocketConnection, body: dict[str, Any]) -> None:
        for route in self._routes(event):
            try:
                await self._call(route, connection, body)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and self._runtime.closing:
                    raise
                clear_cancellation()
                apology(f"a handler of {event} failed", connection.id, error, path=route.path)

    async def _call(self, route: Route, connection: WebSocketConnection, body: dict[str, Any]) -> Any:
        message = ClientMessage(route.path, body, connection, None, new_trace_id())
        options = connection.options
        CURRENT.set((route, message, options))
        try:
            value = route.call(message, NO_PARAMS, options)
            value = await value if inspect.isawaitable(value) else value
        except Exception:
            route.failed += 1
            raise
        route.handled += 1
        return value


def _verdict(value: Any) -> tuple[Close, str] | None:
    """How what a `connect` handler returned refuses the client; None when it accepts.

    This fails closed: `False`, anything with a `success` that is not true, and an `error` without a `success` refuse,
    also where the envelope is not quite the seed's.
    """
    outcome = read(value)
    error = outcome.error.code if outcome.error is not None else ""
    if value is False or not outcome.success:
        return _refused(error)
    if isinstance(value, Mapping) and (value.get("success", True) is not True or value.get("error")):
        given = value.get("error")
        return _refused(str(given.get("code", "")) if isinstance(given, Mapping) else "")
    return None


def _refused(code: str) -> tuple[Close, str]:
    if code == Code.FORBIDDEN:
        return Close.FORBIDDEN, "not allowed"
    return Close.NOT_AUTHENTICATED, "not authenticated"
