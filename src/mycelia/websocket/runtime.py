"""What all connections of one subsystem share, and the gate that their handshakes pass."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mycelia.errors import ConfigError
from mycelia.kernel.message import Message
from mycelia.kernel.system import MessageSystem
from mycelia.protocol.codec import CODECS, Codec, subprotocols
from mycelia.protocol.handshake import (
    Accept,
    BadHandshake,
    Handshake,
    HttpReply,
    check_upgrade,
    choose_subprotocol,
    origin_allowed,
)
from mycelia.websocket.broadcast import Broadcaster
from mycelia.websocket.client import ClientInfo
from mycelia.websocket.config import Config, ServerConfig
from mycelia.websocket.connection import WebSocketConnection
from mycelia.websocket.connections import Connections
from mycelia.websocket.dialect import Dialect
from mycelia.websocket.dispatch import Dispatch
from mycelia.websocket.heartbeat import Heartbeat
from mycelia.websocket.lifecycle import Lifecycle

if TYPE_CHECKING:
    from mycelia.websocket.subsystem import WebSocketSubsystem

__all__ = ["Runtime"]

logger = logging.getLogger("mycelia.websocket")


class Runtime:
    """The parts of a running WebSocketSubsystem, wired together."""

    def __init__(self, config: Config, system: MessageSystem, subsystem: WebSocketSubsystem) -> None:
        self.config = config
        self.system = system
        self.subsystem = subsystem
        self.draining = False
        self.closing = False  # its tasks are being cancelled
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbers = count(1)
        self._dialects: dict[tuple[str, bool], Dialect] = {}
        self._codecs: Mapping[str, Codec] = subprotocols()
        self.connections = Connections(config.connection.max_connections)
        self.broadcaster = Broadcaster(self.connections, self.dialects)
        self.heartbeat = Heartbeat(self)
        self.lifecycle = Lifecycle(self)
        self.dispatch = Dispatch(self)

    # -- shared ------------------------------------------------------------------------------------

    def own(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Runs `work` in a task that this runtime keeps, and cancels in `close`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and "isolated" not in task.get_name():
            logger.error("task %s failed", task.get_name(), exc_info=error)

    async def close(self, seconds: float) -> None:
        """Ends every task that is still running: waits, then cancels, then waits for that too."""
        for cancel in (False, True):
            tasks = [task for task in self._tasks if task is not asyncio.current_task()]
            if not tasks:
                return
            if cancel:
                self.closing = True
                for task in tasks:
                    task.cancel()
            await asyncio.wait(tasks, timeout=seconds)
        if self._tasks:
            logger.warning("%d tasks do not end: %s", len(self._tasks), [task.get_name() for task in self._tasks])

    def dialects(self) -> Iterable[Dialect]:
        """Every dialect that a connection has used."""
        return self._dialects.values()

    def next_correlation_id(self) -> str:
        """The correlation id of a request to a client."""
        return f"s-{next(self._numbers)}"

    def outgoing(self, data: Any) -> Any:
        """What goes out for `data`: a Message as path, body and trace id; anything else as it is."""
        if isinstance(data, Message):
            return {"path": data.path, "body": data.body, "metadata": {"traceId": data.metadata.trace_id}}
        return data

    # -- gate --------------------------------------------------------------------------------------

    def admit(self, server: ServerConfig, framed: bool, request: Handshake) -> Accept | HttpReply:
        """Decides a handshake at once (architecture §5); what may wait comes after it."""
        try:
            if request.path != server.path:
                page = server.http(request) if server.http is not None else None
                if page is not None:
                    return page
                return HttpReply(404, f"not found; the WebSocket is at {server.path}\n".encode())
            check_upgrade(request)
            if not origin_allowed(request, server.allowed_origins, server.require_origin):
                return HttpReply(403, b"this Origin is not allowed; see websocket.allowedOrigins\n")
            known = (*self._codecs, *server.subprotocols)
            chosen = choose_subprotocol(request.subprotocols, known)
        except BadHandshake as bad:
            return bad.reply
        if self.draining or self.connections.full:
            return HttpReply(503, b"no room; try again later\n", (("Retry-After", "5"),))
        codec = self._codecs.get(chosen or "", CODECS["json"])
        dialect = self._dialect(codec, framed)
        keep = self.config.connection.keep_headers
        client = ClientInfo.of(request, server.type, chosen, keep)
        connection_id = self._new_id(request)
        connection = WebSocketConnection(connection_id, self, dialect, client)
        self.connections.add(connection)
        self.lifecycle.expect(connection, request)
        return Accept(connection, chosen)

    def _new_id(self, request: Handshake) -> str:
        made: object = self.config.connection.generate_connection_id(request)
        connection_id = str(made) if isinstance(made, UUID) else made
        if not isinstance(connection_id, str) or not 0 < len(connection_id) <= 128 or not connection_id.isprintable():
            key = "connection.generate_connection_id"
            raise ConfigError(key, f"expected a UUID or 1 to 128 printable characters, got {made!r}")
        return connection_id

    def _dialect(self, codec: Codec, framed: bool) -> Dialect:
        key = codec.name, framed
        if key not in self._dialects:
            self._dialects[key] = Dialect(codec, framed)
        return self._dialects[key]
