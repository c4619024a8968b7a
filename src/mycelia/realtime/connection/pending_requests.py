"""Requests from the server to one client that wait for their response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mycelia.errors import ConnectionNotFound, HandlerError, Overloaded, RequestTimeout
from mycelia.protocol.wire.envelope import Request, Response

__all__ = ["PendingRequests"]


class PendingRequests:
    """The unanswered requests to one connection, by correlation id; at most `limit` of them."""

    __slots__ = ("_claimed", "_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._claimed: set[str] = set()
        self._waiting: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, request: Request, timeout: float, send: Callable[[Request], object]) -> Any:
        """Send a request and return the data of the response.

        Args:
            request: The request; its correlation id must be unique.
            timeout: How long to wait for the response, in seconds.
            send: Writes the request to the client.

        Returns:
            The data of the response.

        Raises:
            Overloaded: `limit` requests wait already.
            RequestTimeout: No response came in time.
            HandlerError: The client answered `success: false`.
            ConnectionNotFound: The client left before it answered.
        """
        if len(self._waiting) >= self._limit:
            raise Overloaded("requests to this client", self._limit)
        correlation_id = str(request.correlation_id)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        deadline = asyncio.timeout(timeout)
        try:
            send(request)
            async with deadline:
                return await answer
        except TimeoutError:
            if not deadline.expired():
                raise
            raise RequestTimeout(str(request.path), timeout) from None
        finally:
            del self._waiting[correlation_id]
            self._claimed.discard(correlation_id)

    def answered(self, response: Response) -> bool:
        """Give a response to the request that waits for it. Return False if no request waits for it."""
        key = response.correlation_id
        waiting = self._waiting.get(key) if isinstance(key, str) else None
        if waiting is None or waiting.done():
            return False
        if response.success:
            waiting.set_result(response.data)
            return True
        fault = response.error
        message = fault.message if fault is not None else "the client reported a failure"
        code = fault.code if fault is not None else "HANDLER_ERROR"
        waiting.set_exception(HandlerError(message, code=code, path="client"))
        return True

    def awaits(self, correlation_id: object) -> bool:
        """Return True if a request waits for this response and the response is not in a transform already."""
        waiting = self._waiting.get(correlation_id) if isinstance(correlation_id, str) else None
        return waiting is not None and not waiting.done() and correlation_id not in self._claimed

    def claims(self, correlation_id: object) -> bool:
        """Reserve the response to a waiting request for the caller. Return True at most once for each request."""
        if (
            not isinstance(correlation_id, str)
            or correlation_id not in self._waiting
            or correlation_id in self._claimed
        ):
            return False
        self._claimed.add(correlation_id)
        return True

    def abandon(self, connection_id: str) -> None:
        """Raise ConnectionNotFound in every waiting request, because the client is gone."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionNotFound(connection_id))
