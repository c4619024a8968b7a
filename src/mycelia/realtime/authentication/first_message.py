"""First-message authentication: the first message of a connection without a token in its handshake may bring one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mycelia.auth.authenticator import TOKEN_BYTES
from mycelia.protocol.wire.envelope import Envelope, ProtocolFault, Request
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import UntransformedMessage
from mycelia.realtime.outbound.transforms import Transforms

__all__ = ["FirstMessage", "token_of"]

_MOST_BYTES = 2 * TOKEN_BYTES


class FirstMessage:
    """Waits for the first message that a pending link holds. The message stays with the link until `request` takes it.

    Args:
        link: A pending link.
        transforms: The application's transforms, which apply to the message.
    """

    def __init__(self, link: Link, transforms: Transforms) -> None:
        self._link, self._transforms = link, transforms
        self._came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link.on_held = self._held

    async def request(self, path: str, deadline: float) -> Request | None:
        """Return the first message if it is a request for `path`, else None.

        Args:
            path: The path of the authentication request.
            deadline: How long to wait for the message and its transform, in seconds.

        Raises:
            TimeoutError: The deadline is over.
        """
        async with asyncio.timeout(deadline):
            await self._came
            held, binary = self._link.take_held(), self._link.encoder.binary
            if held is None or held[1] is not binary or len(held[0]) > _MOST_BYTES:
                return None
            try:
                envelope = await self._read(held[0])
            except ProtocolFault:
                return None
        return envelope if isinstance(envelope, Request) and envelope.path == path else None

    async def _read(self, payload: bytes) -> Envelope:
        encoder = self._link.encoder
        if self._transforms.incoming is None:
            return encoder.decode(payload)
        message = UntransformedMessage(encoder.codec.decode_value(payload))
        return await self._transforms.read(message, self._link.id)

    def _held(self) -> None:
        self._link.on_held = None
        if not self._came.done():
            self._came.set_result(None)


def token_of(body: object) -> str | None:
    """Return the token in the body of `websocket://authenticate`; None if there is none."""
    token = body.get("token") if isinstance(body, Mapping) else None
    return token if isinstance(token, str) and token else None
