"""The disconnect watch: it cancels the work for a client that has disconnected."""

from __future__ import annotations

import asyncio
from types import TracebackType

from mycelia.asgi.scope import Receive

__all__ = ["DisconnectWatch"]


class DisconnectWatch:
    """Inside `async with`, cancels the current task when the client disconnects. `has_left` is then True.

    The cancellation ends with the block: the task continues after the block as if it had not been cancelled. Enter the
    block after the request body has been read. Until then the reader of the body receives the disconnect event.
    """

    __slots__ = ("_receive", "_task", "_watching", "has_left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[object] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.has_left = False

    async def __aenter__(self) -> DisconnectWatch:
        self._task = asyncio.current_task()
        self._watching = asyncio.create_task(self._watch(), name="mycelia-disconnect-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._watching is not None and self._task is not None
        self._watching.cancel()
        if not self.has_left:
            return False
        return self._task.uncancel() == 0 and kind is asyncio.CancelledError

    async def _watch(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # This server does not report disconnects.
            return
        self.has_left = True
        if self._task is not None:
            self._task.cancel()
