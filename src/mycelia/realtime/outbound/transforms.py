"""The application's transforms: of the decoded mapping before validation, of the response before encoding."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Response, from_mapping, to_mapping
from mycelia.realtime.config.config import RoutingConfig
from mycelia.realtime.inbound.worker import Raw
from mycelia.serving.error_responses import TEXTS, apology, packed_failure

if TYPE_CHECKING:
    from mycelia.kernel.routing.router import Route
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["Transforms"]


class Transforms:
    """`routing.transform_incoming` and `routing.transform_outgoing`; either may be async, either absent."""

    __slots__ = ("incoming", "outgoing")

    def __init__(self, routing: RoutingConfig) -> None:
        self.incoming: Callable[[Any], Any] | None = routing.transform_incoming
        self.outgoing: Callable[[Any], Any] | None = routing.transform_outgoing

    async def read(self, raw: Raw, connection_id: str) -> Envelope:
        """The envelope that `transform_incoming` makes of a decoded message, which stays in `raw`.

        Raises ProtocolFault.
        """
        assert self.incoming is not None
        try:
            value = self.incoming(raw.value)
            raw.value = await value if inspect.isawaitable(value) else value
        except Exception as error:
            fault = apology("transform_incoming failed", connection_id, error)
            raise ProtocolFault(Code.INVALID_MESSAGE, TEXTS[Code.INVALID_MESSAGE], fault.details) from None
        return from_mapping(raw.value)

    async def pack(
        self, response: Response, connection: WebSocketConnection, trace_id: str, done: Route | None = None
    ) -> bytes:
        """The packet of what `transform_outgoing` makes of a response.

        `done` is the route whose handler made it; what came of it is counted there.
        """
        assert self.outgoing is not None
        try:
            value = self.outgoing(to_mapping(response))
            if inspect.isawaitable(value):
                value = await value
            packet = connection.dialect.pack_value(value)
            if done is not None:
                done.handled += 1
            return packet
        except Exception as error:
            if done is not None:
                done.failed += 1
            fault = apology("transform_outgoing failed", connection.id, error, trace_id=trace_id)
            return packed_failure(connection.dialect.pack, fault, response.correlation_id, trace_id)
