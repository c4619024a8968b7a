"""The requests that a server sends to a mock client, and the client's answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mycelia.errors import HandlerError
from mycelia.protocol.wire.codes import Code
from mycelia.testing.inbox import ConnectionEnded

__all__ = ["ServerRequests"]

logger = logging.getLogger("mycelia.testing")


class ServerRequests:
    """Runs the client's handlers, each request in a task of its own.

    Args:
        write: Sends an envelope to the server.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        self.handlers: dict[str, Callable[[Any], Any]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._write = write

    def start(self, request: dict[str, Any]) -> None:
        """Answer a request in a new task."""
        task = asyncio.create_task(self._answer(request), name="mycelia-mock-client-answer")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, request: dict[str, Any]) -> None:
        response = {"success": True, "data": None, "correlationId": request["correlationId"], "error": None}
        try:
            handler = self.handlers.get(request["path"])
            if handler is None:
                raise HandlerError("the client has no handler for this path", code=Code.NOT_FOUND)
            value = handler(request.get("body"))
            response["data"] = await value if inspect.isawaitable(value) else value
        except HandlerError as error:
            fields = {"code": error.code, "message": error.message, "details": error.details}
            response |= {"success": False, "error": {**fields, "retryable": error.retryable}}
        except Exception:
            logger.exception("the client's handler of %s failed", request["path"])
            fields = {"code": Code.HANDLER_ERROR, "message": "the client's handler failed", "details": None}
            response |= {"success": False, "error": {**fields, "retryable": False}}
        try:
            await self._write(response)
        except (ConnectionError, ConnectionEnded):
            logger.info("the connection ended before the client answered %s", request["path"])
