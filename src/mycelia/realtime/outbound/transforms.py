"""The application's transforms: of a decoded message before its validation, of a response before its encoding."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mycelia.kernel.routing.router import Route
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Response, from_mapping, to_mapping
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage
from mycelia.serving.error_mapping import MESSAGES
from mycelia.serving.internal_error import internal_error
from mycelia.serving.responses import pack_error_response

__all__ = ["Transforms"]

Transform = Callable[[Any], Any]


class Transforms:
    """`routing.transform_incoming` and `routing.transform_outgoing`; each may be absent, a function or async.

    Args:
        incoming: Takes a decoded message and returns the mapping to validate; None for no transform.
        outgoing: Takes the mapping of a response and returns the value to encode; None for no transform.
    """

    __slots__ = ("incoming", "outgoing")

    def __init__(self, incoming: Transform | None, outgoing: Transform | None) -> None:
        self.incoming, self.outgoing = incoming, outgoing

    async def read(self, message: UntransformedMessage, connection_id: str) -> Envelope:
        """Return the envelope that `transform_incoming` makes of a message; the result stays in `message`.

        Raises:
            ProtocolFault: The transform failed, or its result is not a valid envelope.
        """
        assert self.incoming is not None
        try:
            value = self.incoming(message.value)
            message.value = await value if inspect.isawaitable(value) else value
        except Exception as error:
            fault = internal_error("transform_incoming failed", connection_id, error)
            raise ProtocolFault(Code.INVALID_MESSAGE, MESSAGES[Code.INVALID_MESSAGE], fault.details) from None
        return from_mapping(message.value)

    async def pack(self, response: Response, link: Link, trace_id: str, route: Route | None = None) -> bytes:
        """Return the packet of what `transform_outgoing` makes of a response.

        Args:
            response: The response.
            link: The link that the packet is for.
            trace_id: The trace id of the request, for the log.
            route: The route whose handler made the response; its result is counted there.

        Returns:
            The packet; of an internal error if the transform failed.
        """
        assert self.outgoing is not None
        try:
            value = self.outgoing(to_mapping(response))
            if inspect.isawaitable(value):
                value = await value
            packet = link.encoder.pack_value(value)
        except Exception as error:
            if route is not None:
                route.failed += 1
            fault = internal_error("transform_outgoing failed", link.id, error, trace_id=trace_id)
            return pack_error_response(link.encoder.pack, fault, response.correlation_id, trace_id)
        if route is not None:
            route.handled += 1
        return packet
