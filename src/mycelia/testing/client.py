"""The mock client (`createMockWebSocketClient` of the seed): a client of the wire language, for tests.

    async with create_mock_websocket_client(system) as client:
        await client.connect("ws://localhost/ws")
        response = await client.send({"path": "test://handler", "body": {"data": "test"}})
        assert response["success"]

With a system, a subsystem or an engine it connects in memory, to the endpoint of type `memory`. Without a server it
connects over a real socket. Every wait has a time limit, and its error lists the messages that did arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self

from mycelia.errors import HandlerError
from mycelia.protocol.wire.codes import Code
from mycelia.testing.client_connection import MemoryServer, connect_in_memory, connect_over_socket, memory_engine
from mycelia.testing.client_session import ClientSession
from mycelia.testing.inbox import Inbox, envelope_kind
from mycelia.testing.server_requests import ServerRequests

__all__ = ["MockWebSocketClient", "create_mock_websocket_client"]

TIMEOUT = 5.0  # seconds
BACKLOG = 10_000  # messages


def create_mock_websocket_client(
    server: MemoryServer | None = None, *, timeout: float = TIMEOUT, backlog: int = BACKLOG
) -> MockWebSocketClient:
    """Return a client that is not connected yet.

    Args:
        server: The server to connect to in memory: a system, a subsystem, a facet or an engine. None for a client that
            connects over sockets.
        timeout: The time limit in seconds of every call that has no `timeout` of its own.
        backlog: The number of messages that may wait to be received. Beyond it the client stops reading, as a slow
            client does.
    """
    return MockWebSocketClient(server, timeout=timeout, backlog=backlog)


class MockWebSocketClient:
    """One client of the wire language. Make it with `create_mock_websocket_client`, which documents the arguments.

    Attributes:
        timeout: The time limit in seconds of calls without a `timeout` of their own.
    """

    def __init__(self, server: MemoryServer | None = None, *, timeout: float = TIMEOUT, backlog: int = BACKLOG) -> None:
        self.timeout = timeout
        self._server = server
        self._inbox = Inbox(backlog)
        self._server_requests = ServerRequests(self._write)
        self._session = ClientSession(self._inbox, self._server_requests.start)
        self._numbers = count(1)

    # -- connection ----------------------------------------------------------------------------------

    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        token: str | None = None,
    ) -> Self:
        """Open the connection.

        Args:
            url: The URL of the endpoint, such as `ws://localhost:8080/ws`.
            headers: More headers for the handshake.
            subprotocols: The subprotocols to offer.
            token: A credential, sent as `Authorization: Bearer`.

        Returns:
            The client itself.

        Raises:
            RuntimeError: The client is already connected.
            ValueError: The URL starts with `memory:`, but the client has no server.
            HandshakeRefused: The server rejected the handshake; the error has its response.
            ConnectionRefusedError: No server listens at this address.
            TimeoutError: The server did not answer in time.
        """
        if self.is_connected:
            raise RuntimeError("the client is connected already; await disconnect() first")
        await self.disconnect()
        lines = dict(headers or {})
        if token is not None:
            lines["Authorization"] = f"Bearer {token}"
        async with asyncio.timeout(self.timeout):
            if self._server is not None:
                connection = await connect_in_memory(memory_engine(self._server), url, lines, subprotocols)
            elif url.startswith("memory:"):
                raise ValueError("a memory:// url needs a server: create_mock_websocket_client(system)")
            else:
                connection = await connect_over_socket(url, lines, subprotocols, self.timeout)
        self._session.begin(connection)
        return self

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait for the server's Close, `timeout` at most. Do nothing if it is not open.

        Args:
            code: The close code to send.
            reason: The close reason to send.
        """
        await self._session.close(code, reason, self.timeout, self._server_requests.tasks)

    def abort(self) -> None:
        """End the connection without a Close. The server sees close code 1006."""
        self._session.abort()

    async def wait_closed(self, timeout: float | None = None) -> int:
        """Wait until the connection has ended.

        Args:
            timeout: The time limit in seconds.

        Returns:
            The close code: the server's, or 1006 if it sent no Close.

        Raises:
            NothingArrived: The connection is still open.
        """
        return await self._inbox.wait_for(lambda: self.close_code, "the end of the connection", self._limit(timeout))

    @property
    def is_connected(self) -> bool:
        """True while the connection is open."""
        return self._session.is_open

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected, or None."""
        return self._session.subprotocol

    @property
    def close_code(self) -> int | None:
        """The server's close code, or None while the connection is open."""
        return self._session.close_code

    @property
    def close_reason(self) -> str | None:
        """The server's close reason, or None while the connection is open."""
        return self._session.close_reason

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    # -- to the server -------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Send a request and wait for its response, also if that reports a failure.

        The response is matched by `correlationId`, which is added if the request has none.

        Args:
            message: The request envelope.
            timeout: The time limit in seconds.

        Returns:
            The response envelope.

        Raises:
            ValueError: The message is not a request, or another request with this `correlationId` is pending.
            NothingArrived: No response came in time.
            ConnectionEnded: The connection ended before the response.
        """
        if "event" in message or "success" in message:
            raise ValueError("only a request is answered; send an event or a response with notify()")
        request = dict(message)
        if request.get("correlationId") is None:
            request["correlationId"] = f"c-{next(self._numbers)}"
        what = f"a response to {request.get('path', 'the default path')!r}"
        response = self._session.expect_response(request["correlationId"])
        try:
            await self._write(request)
            return await self._inbox.wait_for(
                lambda: response.result() if response.done() else None, what, self._limit(timeout)
            )
        finally:
            self._session.forget_response(request["correlationId"])

    async def request(self, path: str, body: Any = None, *, timeout: float | None = None) -> Any:
        """Send a request and wait for the data of its response.

        Args:
            path: The path, such as `chat://rooms/7`.
            body: The body, of values that the codec can encode.
            timeout: The time limit in seconds.

        Returns:
            The `data` of the response.

        Raises:
            HandlerError: The response reports a failure.
            NothingArrived: No response came in time.
            ConnectionEnded: The connection ended before the response.
        """
        response = await self.send({"path": path, "body": body}, timeout=timeout)
        if response["success"]:
            return response.get("data")
        error = response.get("error") or {}
        raise HandlerError(
            error.get("message", ""),
            code=error.get("code", Code.HANDLER_ERROR),
            details=error.get("details"),
            retryable=error.get("retryable", False),
            path=path,
        )

    async def notify(self, message: str | Mapping[str, Any], body: Any = None) -> None:
        """Send an envelope without waiting for a response. Add `noReply` to a request.

        Args:
            message: The path of a request, or a whole envelope of any kind.
            body: The body of the request; only used with a path.

        Raises:
            ConnectionEnded: The connection has ended.
        """
        envelope = {"path": message, "body": body} if isinstance(message, str) else dict(message)
        if "event" not in envelope and "success" not in envelope:
            envelope["metadata"] = {"noReply": True, **(envelope.get("metadata") or {})}
        await self._write(envelope)

    async def send_raw(self, data: str | bytes) -> None:
        """Send a payload unchanged, also an invalid one. Receive the response with `receive`.

        Args:
            data: A string for a text message, or bytes for a binary one.

        Raises:
            ConnectionEnded: The connection has ended.
        """
        is_binary = isinstance(data, bytes)
        await self._session.write_raw(data if isinstance(data, bytes) else data.encode(), is_binary, self.timeout)

    # -- from the server -----------------------------------------------------------------------------

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that have arrived and were not received yet."""
        return [message for message in self._inbox if envelope_kind(message) == "event"]

    async def receive_event(self, name: str | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """Return the next event. Other messages stay queued.

        Args:
            name: The name of the event, or None for any event.
            timeout: The time limit in seconds.

        Raises:
            NothingArrived: No such event came in time. The error lists the messages that did arrive.
            ConnectionEnded: The connection ended before the event.
        """
        what = "an event" if name is None else f"the event {name!r}"
        found: dict[str, Any] = await self._inbox.wait_for(
            lambda: self._inbox.take(
                lambda message: envelope_kind(message) == "event" and name in (None, message["event"])
            ),
            what,
            self._limit(timeout),
        )
        return found

    async def receive(self, *, timeout: float | None = None) -> Any:
        """Return the next message that is neither a matched response nor a request of the server.

        A message that is not an envelope is returned as a string or as bytes.

        Args:
            timeout: The time limit in seconds.

        Raises:
            NothingArrived: No message came in time.
            ConnectionEnded: The connection ended before a message.
        """
        return await self._inbox.wait_for(
            lambda: self._inbox.take(lambda message: True), "a message", self._limit(timeout)
        )

    def on(self, path: str, handler: Callable[[Any], Any]) -> None:
        """Answer the server's requests for a path. Requests for other paths are answered with NOT_FOUND.

        Args:
            path: The path.
            handler: Called with the body; its return value, or the value that it awaits, is the response's data. A
                HandlerError that it raises becomes the response. Another exception is logged and becomes HANDLER_ERROR.
        """
        self._server_requests.handlers[path] = handler

    # -- inside --------------------------------------------------------------------------------------

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    async def _write(self, envelope: Mapping[str, Any]) -> None:
        await self._session.write(envelope, self.timeout)
