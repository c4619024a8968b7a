"""The life of a connection: `connect`, then `disconnect` exactly once, and `error` before it after a fault.

A connection without a `connect` handler and without authentication is accepted at once, without a task. Any other
connection is pending until its handlers have answered. `success: false`, Unauthorized (4401) and the code FORBIDDEN
(4403) refuse it. Any other exception closes it with 1011, and the deadline with 4408.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from mycelia.auth.login_throttle import is_guess
from mycelia.errors import Forbidden, HandlerError, Unauthorized
from mycelia.kernel.messages.current import CURRENT
from mycelia.protocol.http.credentials import public_view
from mycelia.protocol.wire.codes import Close, Code
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.first_message import FirstMessage
from mycelia.realtime.authentication.login import CloseReason, Login
from mycelia.realtime.config.sections import ConnectionConfig
from mycelia.realtime.connection.connection import ConnectionState
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.principal import identity_of
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.connection.work import LinkWorker, PendingHandshake
from mycelia.realtime.inbound.invoke import clear_cancellation
from mycelia.realtime.lifecycle.event_handlers import EventHandlers, close_reason
from mycelia.realtime.limits.message_rate_limits import MessageRateLimits
from mycelia.realtime.limits.principal_limit import TOO_MANY, PrincipalLimit
from mycelia.realtime.liveness.heartbeat import Heartbeat
from mycelia.realtime.outbound.system_events import system_event
from mycelia.realtime.service_state import ServiceState
from mycelia.scheduling.task_owner import TaskOwner
from mycelia.serving.internal_error import internal_error

__all__ = ["Lifecycle"]

logger = logging.getLogger("mycelia.websocket")


class Lifecycle:
    """Takes links from their handshake to their `disconnect`.

    Args:
        config: The section `connection`.
        connections_per_address: The most links of one address that may be closing with pending requests; 0 for no
            limit.
        registry: All links.
        events: The application's handlers.
        authentication: Watches the expiry of credentials.
        login: Identifies pending connections.
        heartbeat: Checks open links.
        rates: Limits messages.
        principals: Limits the connections of a principal.
        tasks: Owns the tasks of handlers.
        state: Tells whether the server stops.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        connections_per_address: int,
        *,
        registry: ConnectionRegistry,
        events: EventHandlers,
        authentication: Authentication,
        login: Login,
        heartbeat: Heartbeat,
        rates: MessageRateLimits,
        principals: PrincipalLimit,
        tasks: TaskOwner,
        state: ServiceState,
    ) -> None:
        self._config, self._connections_per_address = config, connections_per_address
        self._registry, self._events, self._authentication, self._login = registry, events, authentication, login
        self._heartbeat, self._rates, self._principals = heartbeat, rates, principals
        self._tasks, self._state = tasks, state
        self._connecting: dict[Link, asyncio.Task[Any]] = {}
        self._connected: set[Link] = set()  # `connect` was sent, so `disconnect` will be

    # -- what happens to a link ------------------------------------------------------------------------

    def expect(self, link: Link, handshake: PendingHandshake) -> None:
        """Keep an accepted handshake for `connect`, if a handler or an authenticator wants to see it."""
        if self._events.has("connect") or self._login.is_needed(handshake.credential):
            link.handshake = handshake

    def opened(self, link: Link) -> None:
        """Accept a link, or ask the authenticator and the `connect` handlers first."""
        handshake, link.handshake = link.handshake, None
        if handshake is None:
            self._connected.add(link)
            self._accept(link)
            return
        first = self._login.first_message(link, handshake.credential)
        work = self._connect(link, handshake, first)
        self._connecting[link] = self._tasks.spawn(work, name=f"mycelia-connect-{link.id}")

    def closed(self, link: Link, code: int, reason: str) -> None:
        """Release everything of a link whose transport is gone, and run its last handlers."""
        self._heartbeat.end(link)
        self._authentication.forget(link.session)
        self._rates.forget(link)
        worker, connecting = link.worker, self._connecting.pop(link, None)
        if connecting is not None:
            connecting.cancel()
        if code == Close.ABNORMAL and link.closed_with is None:
            link.fail(code, "the connection was lost without a Close")
        link.detach()
        fault = link.fault
        if worker is None or fault is not None or link.closed_with is not None or worker.is_idle:
            has_requests = False
            self._registry.leave(link)
        else:  # the client sent a Close after its requests
            has_requests = self._registry.leave_with_requests(link, self._connections_per_address)
        if worker is not None and not has_requests:
            worker.stop()
        was_connected = link in self._connected
        self._connected.discard(link)
        if fault is not None:
            logger.info("connection %s failed: %d %s", link.id, *fault)
        has_handler = (fault is not None and self._events.has("error")) or self._events.has("disconnect")
        if not (was_connected and has_handler) and not has_requests:
            self._forget(link)
            return
        work = self._disconnect(link, (code, reason), connecting, worker)
        self._tasks.spawn(work, name=f"mycelia-disconnect-{link.id}")

    # -- connect ---------------------------------------------------------------------------------------

    async def _connect(self, link: Link, handshake: PendingHandshake, first: FirstMessage | None) -> None:
        is_attempt = True  # True if a rejected token counts as a failed login
        rejection: CloseReason | None = None
        deadline = asyncio.timeout_at(self._deadline(link))
        try:
            async with deadline:
                if self._authentication.is_active:
                    rejection = await self._login.run(link, handshake.credential, first)
                if rejection is None and link.state is ConnectionState.PENDING:
                    self._connected.add(link)
                    rejection = await self._events.ask_connect(link.session, public_view(handshake.request))
        except (Unauthorized, Forbidden, HandlerError) as error:
            if error.code in (Code.UNAUTHORIZED, Code.FORBIDDEN):
                rejection, is_attempt = close_reason(error.code), is_guess(error)
            else:
                rejection = self._connect_failed(link, error)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                rejection = Close.AUTHENTICATION_TIMEOUT, "connect took too long"
                link.fail(*rejection)
            else:
                rejection = self._connect_failed(link, error)
        except asyncio.CancelledError as error:
            if link.state is not ConnectionState.PENDING or self._state.is_stopping:
                raise
            clear_cancellation()  # the handler cancelled itself
            rejection = self._connect_failed(link, error)
        if is_attempt and rejection is not None and rejection[0] is Close.NOT_AUTHENTICATED:
            self._login.count_rejected(link, handshake.credential)
        self._connecting.pop(link, None)
        if link.state is not ConnectionState.PENDING:
            return
        if rejection is None:
            CURRENT.set(None)  # tasks that start here outlive the `connect` message, which holds the token
            self._accept(link)
        else:
            link.close(*rejection)

    def _deadline(self, link: Link) -> float:
        """Return the time of the loop by which a link must be accepted; it runs from the TCP accept, if known."""
        given = None if link.transport is None else link.transport.deadline
        if given is not None:
            return given
        return asyncio.get_running_loop().time() + self._config.connection_timeout

    def _connect_failed(self, link: Link, error: BaseException) -> CloseReason:
        internal_error("a connect handler failed", link.id, error, path=self._events.path_of("connect"))
        rejection = Close.INTERNAL_ERROR, "connect failed"
        link.fail(*rejection)
        return rejection

    def _accept(self, link: Link) -> None:
        greeting = system_event(link.session, "websocket.connected", self._introduction(link))
        link.session.accepted = True  # from here on the metadata can name a principal
        if not self._principals.claim(link):
            link.session.accepted = False
            link.close(*TOO_MANY)
            return
        self._registry.publish(link)
        self._heartbeat.begin(link)
        link.accept(greeting)
        self._authentication.watch(link.session)

    def _introduction(self, link: Link) -> dict[str, Any]:
        """Return the data of `websocket.connected`."""
        config, identity = self._config, identity_of(link.session)
        heartbeat = {"interval": int(config.ping_interval * 1000), "timeout": int(config.ping_timeout * 1000)}
        data = {"connectionId": link.id, "heartbeat": heartbeat}
        return data if identity is None else {**data, "authentication": self._authentication.describe(identity)}

    # -- disconnect ------------------------------------------------------------------------------------

    async def _disconnect(
        self, link: Link, close: tuple[int, str], connecting: asyncio.Task[Any] | None, worker: LinkWorker | None
    ) -> None:
        """Run `error` after a fault, then `disconnect`, after everything else of the connection has ended."""
        seconds, connection, fault = self._config.close_timeout, link.session, link.fault
        try:
            tasks = [] if connecting is None else [connecting]
            if worker is not None:
                if not worker.is_stopping:
                    await worker.finish(seconds)
                    self._registry.finish_requests(link)
                tasks += worker.tasks
            if tasks:
                await asyncio.wait(tasks, timeout=seconds)
            if fault is not None:
                body = {"code": Code.WEBSOCKET_ERROR.value, "closeCode": fault[0], "message": fault[1]}
                await self._events.tell("error", connection, {**body, "connectionId": link.id})
            body = {"connectionId": link.id, "code": close[0], "reason": close[1], "accepted": connection.accepted}
            await self._events.tell("disconnect", connection, body)
        finally:
            self._forget(link)

    def _forget(self, link: Link) -> None:
        self._registry.forget(link)
        link.release()
