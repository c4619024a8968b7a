"""What all connections of one subsystem share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextvars import copy_context
from itertools import count
from typing import TYPE_CHECKING, Any

from mycelia.kernel.messages.message import Message
from mycelia.kernel.system import MessageSystem
from mycelia.observability.counters import Limit, Refusals
from mycelia.observability.error_log import RECORDING, ErrorLog
from mycelia.protocol.wire.codec import Codec
from mycelia.protocol.ws.deflate import Compression, Deflater
from mycelia.realtime.admission.handshake import Gate
from mycelia.realtime.authentication.authentication import Authentication
from mycelia.realtime.authentication.policy import Policy
from mycelia.realtime.config.config import Config
from mycelia.realtime.connection.encoder import Dialect
from mycelia.realtime.connection.registry import Connections
from mycelia.realtime.inbound.dispatcher import Dispatch
from mycelia.realtime.lifecycle.lifecycle import Lifecycle
from mycelia.realtime.limits.message_rate_limits import Throttle
from mycelia.realtime.liveness.heartbeat import Heartbeat
from mycelia.realtime.outbound.broadcaster import Broadcaster
from mycelia.realtime.overload.load_shedding import Shedding
from mycelia.realtime.overload.monitor import Pressure

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
        self.accepting = True  # handshakes
        self.draining = False  # it stops
        self.closing = False  # its tasks are being cancelled
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbers = count(1)
        self._dialects: dict[tuple[str, bool, Deflater | None], Dialect] = {}
        self.refusals = Refusals()
        self.connections = Connections(config.connection.max_connections)
        self.broadcaster = Broadcaster(self.connections, self.dialects)
        self.heartbeat = Heartbeat(self)
        asked = config.routing.policy
        self.policy = None if asked is None else Policy(asked, subsystem.name, config.routing.default_path)
        self.authentication = Authentication(self)
        self.lifecycle = Lifecycle(self)
        self.dispatch = Dispatch(self)
        self.throttle = Throttle(self)
        self.gate = Gate(self)
        self.errors = ErrorLog(config.errors)
        self.shedding = Shedding(self)
        self.pressure = Pressure(config.overload, self.shedding.everybody, self.requests)

    # -- shared ------------------------------------------------------------------------------------

    def own(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Runs `work` in a task that this runtime keeps, and cancels in `close`."""
        context = copy_context()
        context.run(RECORDING.set, self.errors)
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
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

    def task_names(self) -> set[str]:
        """The names of the tasks that it keeps."""
        return {task.get_name() for task in self._tasks}

    def requests(self) -> int:
        """How many requests of all connections run or wait."""
        return sum(each.worker.unanswered for each in self.connections.working() if each.worker is not None)

    def dialects(self) -> Iterable[Dialect]:
        """Every dialect that a connection has used."""
        return self._dialects.values()

    def dialect(self, codec: Codec, framed: bool, compression: Compression | None = None) -> Dialect:
        """The one dialect of this codec for engines that take finished frames, or for those that do not; another for
        peers that take compressed ones and remember nothing of them.
        """
        deflater = None if compression is None or compression.deflater.context else compression.deflater
        key = codec.name, framed, deflater
        if key not in self._dialects:
            limits = self.config.limits
            self._dialects[key] = Dialect(codec, framed, limits.outbound_bytes, limits.message_values, deflater)
        return self._dialects[key]

    def limits_crossed(self) -> dict[str, int]:
        """How often each limit turned something away."""
        oversize = sum(each.oversize for each in self._dialects.values())
        crowded = sum(each.crowded for each in self._dialects.values())
        counts = {Limit.OUTBOUND_BYTES.value: oversize, Limit.MESSAGE_VALUES.value: crowded}
        return {**self.refusals.snapshot(), **counts}

    def next_correlation_id(self) -> str:
        """The correlation id of a request to a client."""
        return f"s-{next(self._numbers)}"

    def outgoing(self, data: Any) -> Any:
        """What goes out for `data`: a Message as path, body and trace id; anything else as it is."""
        if isinstance(data, Message):
            return {"path": data.path, "body": data.body, "metadata": {"traceId": data.metadata.trace_id}}
        return data
