"""The open connection of a mock client, and the sorting of its incoming messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from msgspec import json

from mycelia.protocol.wire.codec import CODECS, Codec, subprotocols
from mycelia.protocol.wire.envelope import ProtocolFault
from mycelia.testing.client_connection import ClientConnection
from mycelia.testing.inbox import ConnectionEnded, Inbox, NothingArrived, envelope_kind

__all__ = ["ClientSession"]

logger = logging.getLogger("mycelia.testing")


class ClientSession:
    """Reads one connection at a time. A response goes to its request, a server request to `on_request`.

    All other messages go to the inbox.

    Args:
        inbox: Receives the other messages, and the end of the connection.
        on_request: Called with each request of the server.
    """

    def __init__(self, inbox: Inbox, on_request: Callable[[dict[str, Any]], None]) -> None:
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.subprotocol: str | None = None
        self._inbox, self._on_request = inbox, on_request
        self._codec: Codec = CODECS["json"]
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._pending: dict[bytes, asyncio.Future[dict[str, Any]]] = {}

    @property
    def is_open(self) -> bool:
        """True while the connection is open."""
        return self._connection is not None and self.close_code is None

    def begin(self, connection: ClientConnection) -> None:
        """Read from a new connection."""
        self.subprotocol = connection.subprotocol
        self.close_code = self.close_reason = None
        self._codec = CODECS["json"]
        if connection.subprotocol is not None:
            self._codec = subprotocols().get(connection.subprotocol, CODECS["json"])
        self._connection = connection
        self._inbox.reset()
        self._reader = asyncio.create_task(self._read(connection), name="mycelia-mock-client")

    async def close(self, code: int, reason: str, timeout: float, others: set[asyncio.Task[None]]) -> None:
        """Close the connection and wait for the server's Close. Then cancel `others` and wait for them."""
        connection, reader = self._connection, self._reader
        if connection is None or reader is None:
            return
        self._inbox.discard_new()
        try:
            async with asyncio.timeout(timeout):
                await connection.close(code, reason)
                await asyncio.shield(reader)
        except TimeoutError:
            logger.warning("the server did not answer a Close within %g s", timeout)
        finally:
            connection.abort()
            tasks = [reader, *others]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._connection = self._reader = None

    def abort(self) -> None:
        """End the connection without a Close."""
        if self._connection is not None:
            self._connection.abort()

    def expect_response(self, correlation_id: Any) -> asyncio.Future[dict[str, Any]]:
        """Return a future for the response to a request.

        Raises:
            ValueError: A request with this id is pending.
        """
        key = json.encode(correlation_id)
        if key in self._pending:
            raise ValueError(f"a request with correlationId {correlation_id!r} is not answered yet")
        response = self._pending[key] = asyncio.get_running_loop().create_future()
        return response

    def forget_response(self, correlation_id: Any) -> None:
        """Stop waiting for a response. If it still arrives, it goes to the inbox."""
        del self._pending[json.encode(correlation_id)]

    async def write(self, envelope: Mapping[str, Any], timeout: float) -> None:
        """Send an envelope. The errors are those of `write_raw`."""
        await self.write_raw(self._codec.encode_value(dict(envelope)), self._codec.binary, timeout)

    async def write_raw(self, payload: bytes, binary: bool, timeout: float) -> None:
        """Send a payload.

        Raises:
            RuntimeError: The client is not connected.
            ConnectionEnded: The connection has ended.
            NothingArrived: The server did not read in time.
        """
        if self._connection is None:
            raise RuntimeError("the client is not connected; await connect(url) first")
        if self.close_code is not None:
            raise ConnectionEnded("an open connection", self.close_code, self.close_reason or "")
        try:
            async with asyncio.timeout(timeout):
                await self._connection.send(payload, binary)
        except TimeoutError:
            raise NothingArrived("the server to read", timeout, list(self._inbox)) from None

    async def _read(self, connection: ClientConnection) -> None:
        while (arrived := await connection.receive()) is not None:
            self._sort(*arrived)
            await self._inbox.wait_for_space()
        self.close_code, self.close_reason = connection.closed
        self._inbox.end(*connection.closed)

    def _sort(self, payload: bytes, binary: bool) -> None:
        message: Any = payload if binary else payload.decode("utf-8", "replace")
        if binary is self._codec.binary:
            with suppress(ProtocolFault):  # a message outside the wire language is received unchanged
                message = self._codec.decode_value(payload)
        kind = envelope_kind(message)
        if kind == "response":
            waiting = self._pending.get(json.encode(message.get("correlationId")))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
                self._inbox.notify()
                return
        if kind == "request" and message.get("correlationId") is not None:
            self._on_request(message)
            return
        self._inbox.put(message)
