"""The websocket facet: what `subsystem.websocket` offers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any, Unpack

from mycelia.errors import ConnectionNotFound, Disabled, NotRunning
from mycelia.kernel.facet import Facet
from mycelia.kernel.routing.router import RouteSettings
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.net.certificates import Certificates
from mycelia.observability.counters import Counter
from mycelia.protocol.ws.deflate import Negotiator
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.config.config import Config
from mycelia.realtime.config.endpoint import ServerConfig
from mycelia.realtime.connection.connection import WebSocketConnection, to_sendable
from mycelia.realtime.connection.send_queue import Overflow, SendResult
from mycelia.realtime.core import Core
from mycelia.realtime.endpoint import check_abilities, engine_options, urls
from mycelia.realtime.exposure_report import report_exposure
from mycelia.realtime.inbound.resolver import handler_route
from mycelia.realtime.lifecycle.event_handlers import ConnectionEvent
from mycelia.realtime.outbound.broadcaster import BroadcastResult, Filter
from mycelia.transports.engine_registry import make_engine
from mycelia.transports.seam import CanServe, Engine

__all__ = ["WebSocketFacet"]

logger = logging.getLogger("mycelia.websocket")


class WebSocketFacet(Facet):
    """Server, connection manager, message router and broadcast manager of one WebSocketSubsystem."""

    def __init__(self, config: Config, system: MessageSystem, subsystem: BaseSubsystem) -> None:
        self.config = config
        self._core = Core(config, system, subsystem)
        self._subsystem = subsystem
        self._engines: list[tuple[ServerConfig, Engine]] = []
        for server in config.websocket:
            engine = make_engine(server.type)
            check_abilities(server, type(engine))
            self._engines.append((server, engine))
        self._certificates = Certificates("websocket", config.websocket)
        self._moving = asyncio.Lock()
        self._running = False
        self._froze = False

    # -- server ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens on every endpoint, all or none.

        Raises NotRunning when it is listening already, and the `OSError` of a failed bind; then nothing
        listens and `start` may be called again.
        """
        async with self._moving:
            if self._running:
                raise NotRunning("the WebSocket server is already running; stop() it first")
            self._core.state.reset()
            self._certificates.reload()
            started: list[Engine] = []
            try:
                for server, engine in self._engines:
                    self._connect(server, engine)
                    await engine.start(engine_options(server, self._core, self._certificates))
                    started.append(engine)
            except BaseException:
                for engine in reversed(started):
                    await engine.stop()
                raise
            self._running = True
            self._core.monitor.start(lambda: sum(each.refused_for_descriptors for each in self.engines))
        for server, engine in self._engines:
            where = " and ".join(urls(server, engine)) or f"{server.path} and no port of its own"
            logger.info("listening with %s on %s", engine.name, where)
        self._report_exposure()
        if gc.get_freeze_count() == 0:  # else another server's start has done it, and its clients are alive
            gc.collect()
            gc.freeze()  # what is here now stays: the collector need not walk it again
            self._froze = True

    async def drain(self, deadline: float = 30.0) -> None:
        """Takes the server out of service: nothing that it accepted is lost without an answer, if `deadline` allows.

        From now on it is not ready, and handshakes get 503; requests are served until their connection is closed
        (1012) at a moment of its own within `drain.window`. Returns when it is stopped, `deadline` seconds later and
        what `disconnect` handlers take at the most. Not for a client's handler to await: it would wait for itself.
        """
        if self._running:
            self._core.state.is_accepting = False
            await self._core.drain().run(deadline)
            await self.stop()

    async def stop(self) -> None:
        """Refuses new clients, closes all connections (1001), and returns when they are gone or time is up.

        Does nothing when it is not listening.
        """
        # In a task of its own: whoever calls may be a client's handler, which the closing cancels.
        await asyncio.shield(asyncio.create_task(self._stop(), name="mycelia-stop"))

    async def _stop(self) -> None:
        async with self._moving:
            if not self._running:
                return
            core = self._core
            core.state.is_stopping = True
            core.monitor.stop()
            limit = self.config.connection.close_timeout
            await core.registry.close(limit + 0.5, lambda link: True)
            for _, engine in self._engines:
                await engine.stop()
            await core.registry.wait_for_requests(limit)
            await core.close(limit)
            self._running = False
            if self._froze:
                gc.unfreeze()
                self._froze = False

    async def close_served(self) -> None:
        """Closes the connections (1001) that an ASGI server carries, for that one stops; returns like `stop`."""
        names = {engine.name for engine in self.engines if isinstance(engine, CanServe)}
        limit = self.config.connection.close_timeout
        await self._core.registry.close(limit + 0.5, lambda link: link.session.client.engine in names)

    async def init(self) -> None:
        if self._core.policy is not None:
            self._core.system.guard(self._core.policy.guard)

    async def dispose(self) -> None:
        await self.stop()
        if self._core.policy is not None:
            self._core.system.unguard(self._core.policy.guard)
        await self._core.authentication.close()
        await self._core.close(self.config.connection.close_timeout)

    def is_accepting(self) -> bool:
        """Whether it would take a new client: not while it drains or stops."""
        state = self._core.state
        return self._running and state.is_accepting and not state.is_stopping

    def is_running(self) -> bool:
        """Whether it listens."""
        return self._running

    def get_address(self) -> tuple[str, int] | None:
        """Host and port of the first endpoint; None when it does not listen, or has none."""
        return self._engines[0][1].address()

    def get_port(self) -> int | None:
        """The port of the first endpoint, the real one also for `port: 0`."""
        address = self.get_address()
        return None if address is None else address[1]

    def get_urls(self) -> list[str]:
        """Where clients find every endpoint that listens: `wss://192.0.2.1:8443/ws`, `ws+unix:/run/app.sock:/ws`."""
        return [url for server, engine in self._engines if self._running for url in urls(server, engine)]

    def reload_certificates(self) -> None:
        """Reads all certificates and keys anew: the next handshakes get them, established connections stay.

        Raises ConfigError for files that are missing or do not fit; then the old ones go on.
        """
        self._certificates.reload()
        logger.info("certificates have been read anew")

    # -- connections -------------------------------------------------------------------------------

    def get_connection(self, connection_id: str) -> WebSocketConnection | None:
        """The connection of that id; also while it is pending, and until its `disconnect` has run."""
        link = self._core.registry.get(connection_id)
        return None if link is None else link.session

    def get_all_connections(self) -> list[WebSocketConnection]:
        """A snapshot of the open connections."""
        return self._core.registry.open_connections()

    def get_connection_count(self) -> int:
        """How many connections are open."""
        return len(self._core.registry)

    def close_connection(self, connection_id: str, code: int = 1000, reason: str = "") -> None:
        """Closes one connection. Raises ConnectionNotFound."""
        self._find(connection_id).close(code, reason)

    async def send(
        self,
        connection_id: str,
        message: Any,
        *,
        overflow: Overflow | str = Overflow.DISCONNECT,
        key: str | None = None,
    ) -> SendResult | None:
        """Sends a Message or a mapping to one client, at most once; None when it was written.

        Raises ConnectionNotFound, Disabled (`routing.enable_direct_send`), and InvalidMessage.
        """
        if not self.config.routing.enable_direct_send:
            raise Disabled("sending to one connection", "routing.enable_direct_send")
        return await self._find(connection_id).send(message, overflow=overflow, key=key)

    async def broadcast(
        self,
        message: Any,
        filter: Filter | None = None,
        *,
        overflow: Overflow | str = Overflow.DISCONNECT,
        key: str | None = None,
    ) -> BroadcastResult:
        """Sends a Message or a mapping to every open connection that `filter` selects.

        Raises Disabled (`routing.enable_broadcast`) and InvalidMessage before anybody was sent anything.
        """
        if not self.config.routing.enable_broadcast:
            raise Disabled("broadcasting", "routing.enable_broadcast")
        data = to_sendable(message)
        return await self._core.broadcaster.broadcast(data, filter, Overflow(overflow), key)

    # -- handlers ----------------------------------------------------------------------------------

    def register_message_handler(
        self, path: str, handler: Callable[..., Any], *, replace: bool = False, **settings: Unpack[RouteSettings]
    ) -> None:
        """Lets `handler` answer `path` for clients, before any subsystem's route, with the settings of a route.

        That exposes the path, to all clients unless `expose` is "authenticated". Raises RouteError for what would hide
        it, and when the path has such a handler already, unless `replace` is set. It lasts until `dispose`; what is
        given to the subsystem's method of this name lasts for every build.
        """
        route = handler_route(path, handler, settings)
        self._core.resolver.add(route, replace)
        self._subsystem.adopt(route)

    def register_connection_handler(self, event: ConnectionEvent, handler: Callable[..., Any]) -> None:
        """Calls `handler(message, params, options)` on `connect`, `disconnect` or `error`, after the route.

        It lasts until `dispose`; what is given to the subsystem's method of this name lasts for every build.
        """
        self._core.events.register(event, handler)

    def on_connect(self, handler: Callable[..., Any]) -> None:
        """`register_connection_handler("connect", handler)`."""
        self.register_connection_handler("connect", handler)

    def on_disconnect(self, handler: Callable[..., Any]) -> None:
        """`register_connection_handler("disconnect", handler)`."""
        self.register_connection_handler("disconnect", handler)

    def on_error(self, handler: Callable[..., Any]) -> None:
        """`register_connection_handler("error", handler)`."""
        self.register_connection_handler("error", handler)

    # -- looking in --------------------------------------------------------------------------------

    @property
    def authentication(self) -> Authentication:
        """Who is who: gives a connection a new identity (`renew`), and tells when one has come (`renewed`)."""
        return self._core.authentication

    def errors(self, body: Any = None) -> dict[str, Any]:
        """The newest failures, `{total, errors}`; `body["limit"]` of them (20). Never the text of an exception."""
        return self._core.errors.report(body)

    def snapshot(self) -> dict[str, Any]:
        """Connections, requests, errors, rejections, and the gauges of overload; part of `system.statistics()`."""
        core = self._core
        return {
            "connections": len(core.registry),
            "requests": core.requests(),
            "refused": core.counters[Counter.REFUSED],
            "unmatchedResponses": core.counters[Counter.UNMATCHED_RESPONSES],
            "halfOpen": len(core.accept_limiter),
            "limits": core.counters.limits(),
            "errors": core.errors.total,
            "accepting": self.is_accepting(),
            "overload": core.monitor.snapshot(),
        }

    # -- inside ------------------------------------------------------------------------------------

    @property
    def engines(self) -> list[Engine]:
        """The engines, in the order of the endpoints."""
        return [engine for _, engine in self._engines]

    def _find(self, connection_id: str) -> WebSocketConnection:
        link = self._core.registry.get(connection_id)
        if link is None:
            raise ConnectionNotFound(connection_id)
        return link.session

    def _report_exposure(self) -> None:
        core = self._core
        routes = [route for each in core.system.subsystems.values() for route in each.routes]
        has_connect = core.events.has("connect")
        report_exposure(self.config, core.resolver, routes, self._subsystem.name, has_connect)

    def _connect(self, server: ServerConfig, engine: Engine) -> None:
        admission = self._core.admission
        framed = engine.framed
        deflate = server.deflate
        negotiator = None if deflate is None else Negotiator(deflate)
        admission.use_codec(server.type, engine.codec)
        engine.on("admit", lambda request: admission.admit(server, framed, request, negotiator))
        if not server.client_tracking:
            logger.warning("websocket.options.clientTracking has no effect: connections are always tracked")
