"""Wires the parts of one WebSocketSubsystem. Only `mycelia.websocket` imports this module.

Every part gets what it needs through its constructor, so this is the one place that knows all parts. A part is made
after the parts that it uses.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count

from mycelia.auth.login_throttle import LoginThrottle
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.net.address import Proxies
from mycelia.net.peer_rules import cookie_origins
from mycelia.observability.counters import Counter, EventCounters
from mycelia.observability.error_log import RECORDING, ErrorLog
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.admission.accept_limiter import AcceptLimiter, affordable_half_open
from mycelia.realtime.admission.handshake import HandshakeAdmission
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.login import Login
from mycelia.realtime.authentication.policy import Policy
from mycelia.realtime.config.config import Config
from mycelia.realtime.connection.connection import SessionPorts
from mycelia.realtime.connection.encoder import Encoders
from mycelia.realtime.connection.link_ports import LinkPorts
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.inbound.backlog import BacklogLimits
from mycelia.realtime.inbound.decoder import Decoder
from mycelia.realtime.inbound.dispatcher import Dispatcher
from mycelia.realtime.inbound.invoke import Invoker
from mycelia.realtime.inbound.receiver import Receiver
from mycelia.realtime.inbound.resolver import Resolver
from mycelia.realtime.inbound.worker import WorkerPorts
from mycelia.realtime.lifecycle.drain import Drain
from mycelia.realtime.lifecycle.event_handlers import EventHandlers
from mycelia.realtime.lifecycle.lifecycle import Lifecycle
from mycelia.realtime.limits.abuse_limit import AbuseLimit
from mycelia.realtime.limits.message_rate_limits import MessageRateLimits
from mycelia.realtime.limits.principal_limit import PrincipalLimit
from mycelia.realtime.liveness.heartbeat import Heartbeat
from mycelia.realtime.liveness.idle_timeout import IdleTimeout
from mycelia.realtime.outbound.broadcaster import Broadcaster
from mycelia.realtime.outbound.responder import Responder
from mycelia.realtime.outbound.transforms import Transforms
from mycelia.realtime.overload.load_shedding import LoadShedding
from mycelia.realtime.overload.monitor import OverloadMonitor
from mycelia.realtime.service_state import ServiceState
from mycelia.scheduling.fair_scheduler import FairScheduler
from mycelia.scheduling.rate_limiter import RateLimiter
from mycelia.scheduling.task_owner import TaskOwner

__all__ = ["Core"]

logger = logging.getLogger("mycelia.websocket")

# The limits that close a connection for a fault, by the close code.
_LIMITS_BY_CLOSE: Mapping[int, Counter] = {
    Close.MESSAGE_TOO_BIG: Counter.MESSAGE_BYTES,
    Close.SERVICE_RESTART: Counter.INBOUND_BYTES,
    Close.SLOW_CONSUMER: Counter.SLOW_CONSUMER,
    Close.HEARTBEAT_LOST: Counter.HEARTBEAT,
    Close.IDLE: Counter.IDLE,
    Close.LIFETIME_OVER: Counter.LIFETIME,
}


class Core:
    """The parts of one running WebSocketSubsystem.

    Args:
        config: The configuration.
        system: The message system.
        subsystem: The WebSocket subsystem, which owns the routes of connection events.
    """

    def __init__(self, config: Config, system: MessageSystem, subsystem: BaseSubsystem) -> None:
        self.config, self.system = config, system
        connection, limits, routing = config.connection, config.limits, config.routing
        self.state = ServiceState()
        self.counters = EventCounters()
        self.errors = ErrorLog(config.errors)
        self.tasks = TaskOwner(logger, lambda: RECORDING.set(self.errors))
        self.registry = ConnectionRegistry(connection.max_connections)
        self.broadcaster = Broadcaster(self.registry)
        scheduler = FairScheduler()

        # The way of a request: receiver, worker, dispatcher, handler, responder.
        transforms = Transforms(routing.transform_incoming, routing.transform_outgoing)
        self.responder = Responder(transforms, self.tasks, self.counters)
        self.resolver = Resolver(system, subsystem.name, routing)
        self.decoder = Decoder(transforms, self.responder, scheduler, self.counters, system.exact, routing.default_path)
        dispatcher = Dispatcher(
            resolver=self.resolver,
            decoder=self.decoder,
            responder=self.responder,
            transforms=transforms,
            invoker=Invoker(limits.handler_timeout, self.tasks, self.counters),
            counters=self.counters,
            handler_timeout=limits.handler_timeout,
            concurrent_requests=connection.concurrent_requests,
        )
        backlog = BacklogLimits(connection.backlog_requests, connection.backlog_bytes, connection.pause_timeout)
        workers = WorkerPorts(dispatcher, system.exact, scheduler, self.tasks, self.state, backlog)
        self.receiver = Receiver(self.decoder, workers)

        # Limits and liveness of open connections.
        self.abuse = AbuseLimit(RateLimiter.of(limits.abuse), self.counters)
        self.rates = MessageRateLimits(limits, self.receiver, self.responder, self.abuse, self.counters)
        self.shedding = LoadShedding(self.registry, self.decoder, self.rates.receiver)
        idle_timeout = IdleTimeout(limits.idle_timeout, limits.connection_lifetime)
        self.heartbeat = Heartbeat(connection.ping_interval, connection.ping_timeout, idle_timeout)
        principals = PrincipalLimit(self.registry, limits.connections_per_principal, self.counters)

        # The life of a connection.
        self.events = EventHandlers(subsystem, self.tasks, self.state)
        policy = routing.policy
        self.policy = None if policy is None else Policy(policy, subsystem.name, routing.default_path)
        self.authentication = Authentication(
            config.authentication,
            f"{subsystem.name}://authenticate",
            timeout=connection.connection_timeout,
            throttle=LoginThrottle(limits.failed_logins),
            abuse=self.abuse,
            counters=self.counters,
            errors=self.errors,
            on_expiring=self.events.tell_expiring,
            on_changed=_nothing if self.policy is None else self.policy.forget,
        )
        origins = [each for server in config.websocket for each in cookie_origins(server.allowed_origins)]
        login = Login(self.authentication, origins, transforms, self.responder, self.counters)
        self.lifecycle = Lifecycle(
            connection,
            limits.connections_per_address,
            registry=self.registry,
            events=self.events,
            authentication=self.authentication,
            login=login,
            heartbeat=self.heartbeat,
            rates=self.rates,
            principals=principals,
            tasks=self.tasks,
            state=self.state,
        )

        # Admission of new connections.
        self.monitor = OverloadMonitor(config.overload, self.shedding.switch, self.requests)
        proxies = Proxies(limits.trusted_proxies, limits.proxy_headers)
        self.accept_limiter = self._make_accept_limiter(proxies)
        ids = count(1)
        self.admission = HandshakeAdmission(
            limits=limits,
            config=connection,
            proxies=proxies,
            registry=self.registry,
            login=login,
            encoders=Encoders(self.counters, limits.outbound_bytes, limits.message_values),
            scheduler=scheduler,
            counters=self.counters,
            has_capacity=self.has_capacity,
            expect=self.lifecycle.expect,
            sessions=SessionPorts(principals.new_metadata, lambda: f"s-{next(ids)}", connection.backlog_requests),
            links=LinkPorts(
                opened=self.lifecycle.opened,
                stopped=self.registry.unpublish,
                failed=self._count_fault,
                closed=self.lifecycle.closed,
                allows_control=self.rates.allows_control,
                rate_limited=self.rates.route_limited,
                due=self.heartbeat.due,
                receiver=self.rates.receiver,
                refuser=self.shedding.refuser,
                send_queue_bytes=connection.outbox_bytes,
                held_requests=connection.backlog_requests,
                held_bytes=connection.backlog_bytes,
            ),
        )

    def has_capacity(self) -> bool:
        """Return True if new connections may be accepted: no stop, no drain, no overload."""
        return self.state.is_accepting and not self.state.is_stopping and not self.monitor.is_overloaded

    def requests(self) -> int:
        """Return how many requests of all connections run or wait."""
        links = self.registry.with_requests()
        return sum(link.worker.unanswered for link in links if link.worker is not None)

    def drain(self) -> Drain:
        """Return a drain of all connections."""
        return Drain(self.registry, self.responder.is_sending, self.config.drain.window)

    async def close(self, seconds: float) -> None:
        """End every task: wait for `seconds`, cancel what is left, and wait as long for that."""
        await self.tasks.close(seconds, self._begin_cancelling)

    def _begin_cancelling(self) -> None:
        self.state.is_cancelling = True

    def _count_fault(self, code: int) -> None:
        """Count a connection that is closed for a fault, if a limit causes this close code."""
        counter = _LIMITS_BY_CLOSE.get(code)
        if counter is not None:
            self.counters.add(counter)

    def _make_accept_limiter(self, proxies: Proxies) -> AcceptLimiter:
        connection, limits = self.config.connection, self.config.limits
        most = affordable_half_open(connection.max_half_open)
        limiter = AcceptLimiter(most, min(most, connection.max_half_open_per_address), self.counters)
        limiter.limit_rates(limits.accept_rate, limits.accept_rate_per_address)
        if proxies:
            limiter.exempt(proxies.trusts)
        return limiter


def _nothing(connection: object) -> None:
    """Do nothing when an identity changes, because there is no policy."""
