"""The mock client (the seed's `createMockWebSocketClient`): a client of the wire language, for tests.

    async with create_mock_websocket_client(system) as client:
        await client.connect("ws://localhost/ws")
        response = await client.send({"path": "test://handler", "body": {"data": "test"}})
        assert response["success"]

Given a system, subsystem or engine it connects in memory, to the endpoint of type `memory`; given nothing it
connects over a real socket. Every wait has a time limit, and says what did arrive when it is over.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Any, Self

from msgspec import json

from mycelia.errors import HandlerError
from mycelia.protocol.wire.codec import CODECS, Codec, subprotocols
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import ProtocolFault
from mycelia.testing.arrivals import Arrivals, ConnectionEnded, NothingArrived, kind_of
from mycelia.testing.pipe import Pipe, open_memory, open_socket
from mycelia.testing.target import Target, memory_engine

__all__ = ["MockWebSocketClient", "create_mock_websocket_client"]

logger = logging.getLogger("mycelia.testing")

TIMEOUT = 5.0
BACKLOG = 10_000


def create_mock_websocket_client(
    server: Target | None = None, *, timeout: float = TIMEOUT, backlog: int = BACKLOG
) -> MockWebSocketClient:
    """A client that is not connected yet; see MockWebSocketClient."""
    return MockWebSocketClient(server, timeout=timeout, backlog=backlog)


class MockWebSocketClient:
    """One client. `timeout` is the limit, in seconds, of every call that is not given another one.

    At most `backlog` messages wait to be received; beyond that the client stops reading, as a slow one does.
    """

    def __init__(self, server: Target | None = None, *, timeout: float = TIMEOUT, backlog: int = BACKLOG) -> None:
        self.timeout = timeout
        self.subprotocol: str | None = None
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._server = server
        self._codec: Codec = CODECS["json"]
        self._pipe: Pipe | None = None
        self._pump: asyncio.Task[None] | None = None
        self._arrivals = Arrivals(backlog)
        self._awaited: dict[bytes, asyncio.Future[dict[str, Any]]] = {}
        self._handlers: dict[str, Callable[[Any], Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
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
        """Opens the connection; `token` goes into `Authorization: Bearer`.

        Raises HandshakeRefused with the server's reply, ConnectionRefusedError when nobody listens.
        """
        if self.is_connected:
            raise RuntimeError("the client is connected already; await disconnect() first")
        await self.disconnect()
        lines = dict(headers or {})
        if token is not None:
            lines["Authorization"] = f"Bearer {token}"
        async with asyncio.timeout(self.timeout):
            pipe = await self._open(url, lines, subprotocols)
        self.subprotocol = pipe.subprotocol
        self.close_code = self.close_reason = None
        self._codec = _codec(pipe.subprotocol)
        self._pipe = pipe
        self._arrivals.begin()
        self._pump = asyncio.create_task(self._read(pipe), name="mycelia-mock-client")
        return self

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Closes and waits for the server's Close, at most `timeout`. Does nothing when not connected."""
        pipe, pump = self._pipe, self._pump
        if pipe is None or pump is None:
            return
        self._arrivals.drop_all()
        try:
            async with asyncio.timeout(self.timeout):
                await pipe.close(code, reason)
                await asyncio.shield(pump)
        except TimeoutError:
            logger.warning("the server did not answer a Close within %g s", self.timeout)
        finally:
            pipe.abort()
            pump.cancel()
            for task in self._answering:
                task.cancel()
            await asyncio.wait([pump, *self._answering])
            self._pipe = self._pump = None

    def abort(self) -> None:
        """Hangs up without a Close; the server sees 1006."""
        if self._pipe is not None:
            self._pipe.abort()

    async def wait_closed(self, timeout: float | None = None) -> int:
        """Waits until the connection has ended; returns `close_code`."""
        await self._arrivals.until(self._ended, "the end of the connection", self._limit(timeout))
        assert self.close_code is not None
        return self.close_code

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that has not ended."""
        return self._pipe is not None and self.close_code is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    # -- to the server -------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Sends a request and returns its response as it came, whether it succeeded or not.

        The response is found by `correlationId`, which is added when absent. Raises NothingArrived, and
        ConnectionEnded when the connection ends before the response.
        """
        if "event" in message or "success" in message:
            raise ValueError("only a request is answered; send an event or a response with notify()")
        request = dict(message)
        if request.get("correlationId") is None:
            request["correlationId"] = f"c-{next(self._numbers)}"
        key = json.encode(request["correlationId"])
        if key in self._awaited:
            raise ValueError(f"a request with correlationId {request['correlationId']!r} is not answered yet")
        what = f"a response to {request.get('path', 'the default path')!r}"
        answer = self._awaited[key] = asyncio.get_running_loop().create_future()
        try:
            await self._write(request)
            return await self._arrivals.until(
                lambda: answer.result() if answer.done() else None, what, self._limit(timeout)
            )
        finally:
            del self._awaited[key]

    async def request(self, path: str, body: Any = None, *, timeout: float | None = None) -> Any:
        """Sends a request and returns the data of its response; HandlerError when it did not succeed."""
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
        """Sends without waiting: a request that wants no reply, by its path or whole; or any envelope."""
        envelope = {"path": message, "body": body} if isinstance(message, str) else dict(message)
        if "event" not in envelope and "success" not in envelope:
            envelope["metadata"] = {"noReply": True, **(envelope.get("metadata") or {})}
        await self._write(envelope)

    async def send_raw(self, data: str | bytes) -> None:
        """Sends text or bytes as they are, right or wrong; what comes back is for `receive`."""
        await self._put(data if isinstance(data, bytes) else data.encode(), isinstance(data, bytes))

    # -- from the server -----------------------------------------------------------------------------

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that have arrived and were not received yet."""
        return [message for message in self._arrivals if kind_of(message) == "event"]

    async def receive_event(self, name: str | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """The next event, or the next of that name; others stay where they are.

        Raises NothingArrived, which lists what did arrive, and ConnectionEnded.
        """
        what = "an event" if name is None else f"the event {name!r}"
        found: dict[str, Any] = await self._arrivals.until(
            lambda: self._arrivals.take(
                lambda message: kind_of(message) == "event" and name in (None, message["event"])
            ),
            what,
            self._limit(timeout),
        )
        return found

    async def receive(self, *, timeout: float | None = None) -> Any:
        """The next message of any kind that nothing else has claimed; text or bytes if it is no object."""
        return await self._arrivals.until(
            lambda: self._arrivals.take(lambda message: True), "a message", self._limit(timeout)
        )

    def on(self, path: str, handler: Callable[[Any], Any]) -> None:
        """Answers the server's requests for `path` with what `handler(body)` returns or awaits.

        A HandlerError that it raises is the answer; another exception is HANDLER_ERROR and logged. Requests
        for a path without a handler are answered NOT_FOUND.
        """
        self._handlers[path] = handler

    # -- inside --------------------------------------------------------------------------------------

    async def _open(self, url: str, headers: Mapping[str, str], offered: Sequence[str]) -> Pipe:
        if self._server is not None:
            return await open_memory(memory_engine(self._server), url, headers, offered)
        if url.startswith("memory:"):
            raise ValueError("a memory:// url needs a server: create_mock_websocket_client(system)")
        return await open_socket(url, headers, offered, self.timeout)

    def _connected(self) -> Pipe:
        if self._pipe is None:
            raise RuntimeError("the client is not connected; await connect(url) first")
        if self.close_code is not None:
            raise ConnectionEnded("an open connection", self.close_code, self.close_reason or "")
        return self._pipe

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _ended(self) -> int | None:
        return self.close_code

    async def _write(self, envelope: Mapping[str, Any]) -> None:
        await self._put(self._codec.encode_value(dict(envelope)), self._codec.binary)

    async def _put(self, payload: bytes, binary: bool) -> None:
        pipe = self._connected()
        try:
            async with asyncio.timeout(self.timeout):
                await pipe.send(payload, binary)
        except TimeoutError:
            raise NothingArrived("the server to read", self.timeout, list(self._arrivals)) from None

    async def _read(self, pipe: Pipe) -> None:
        while (arrived := await pipe.receive()) is not None:
            self._sort(*arrived)
            await self._arrivals.room()
        self.close_code, self.close_reason = pipe.closed
        self._arrivals.end(*pipe.closed)

    def _sort(self, payload: bytes, binary: bool) -> None:
        message: Any = payload if binary else payload.decode("utf-8", "replace")
        if binary is self._codec.binary:
            with suppress(ProtocolFault):  # what is not of the wire language is received as it came
                message = self._codec.decode_value(payload)
        kind = kind_of(message)
        if kind == "response":
            waiting = self._awaited.get(json.encode(message.get("correlationId")))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
                self._arrivals.changed()
                return
        if kind == "request" and message.get("correlationId") is not None:
            task = asyncio.create_task(self._answer(message), name="mycelia-mock-client-answer")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        self._arrivals.put(message)

    async def _answer(self, request: dict[str, Any]) -> None:
        reply = {"success": True, "data": None, "correlationId": request["correlationId"], "error": None}
        try:
            handler = self._handlers.get(request["path"])
            if handler is None:
                raise HandlerError("the client has no such path", code=Code.NOT_FOUND)
            value = handler(request.get("body"))
            reply["data"] = await value if inspect.isawaitable(value) else value
        except HandlerError as error:
            fault = {"code": error.code, "message": error.message, "details": error.details}
            reply |= {"success": False, "error": {**fault, "retryable": error.retryable}}
        except Exception:
            logger.exception("the client's handler of %s failed", request["path"])
            fault = {"code": Code.HANDLER_ERROR, "message": "the client's handler failed", "details": None}
            reply |= {"success": False, "error": {**fault, "retryable": False}}
        try:
            await self._write(reply)
        except (ConnectionError, ConnectionEnded):
            logger.info("the connection ended before the client answered %s", request["path"])


def _codec(subprotocol: str | None) -> Codec:
    known = subprotocols()
    return CODECS["json"] if subprotocol is None else known.get(subprotocol, CODECS["json"])
