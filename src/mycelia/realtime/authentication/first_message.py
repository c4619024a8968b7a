"""The first message of a connection that showed no token in its handshake: it may bring one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mycelia.auth.authenticator import TOKEN_BYTES
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Request
from mycelia.realtime.inbound.worker import Raw
from mycelia.realtime.outbound.transforms import Transforms

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["FirstMessage", "token_of"]

_MOST_BYTES = 2 * TOKEN_BYTES


class FirstMessage:
    """Hears when the first message of a pending connection is held; nothing is taken from it until `request`."""

    def __init__(self, connection: WebSocketConnection, transforms: Transforms) -> None:
        self._connection, self._transforms = connection, transforms
        self._hold = connection.received
        self._came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection.received = self._received

    async def request(self, path: str, deadline: float) -> Request | None:
        """The request for `path` that it is, after `transform_incoming`; None when it is anything else.

        TimeoutError after `deadline` seconds, in which the transform has to be done as well.
        """
        async with asyncio.timeout(deadline):
            await self._came
            held, binary = self._connection.take_held(), self._connection.dialect.binary
            if held is None or held[1] is not binary or len(held[0]) > _MOST_BYTES:
                return None
            try:
                envelope = await self._read(held[0])
            except ProtocolFault:
                return None
        return envelope if isinstance(envelope, Request) and envelope.path == path else None

    async def _read(self, payload: bytes) -> Envelope:
        dialect = self._connection.dialect
        if self._transforms.incoming is None:
            return dialect.decode(payload)
        return await self._transforms.read(Raw(dialect.codec.decode_value(payload)), self._connection.id)

    def _received(self, payload: bytes, binary: bool) -> None:
        self._connection.received = self._hold
        self._hold(payload, binary)
        if not self._came.done():
            self._came.set_result(None)


def token_of(body: object) -> str | None:
    """The token in the body of `websocket://authenticate`; None when there is none."""
    token = body.get("token") if isinstance(body, Mapping) else None
    return token if isinstance(token, str) and token else None
