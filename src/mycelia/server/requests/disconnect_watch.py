"""Whether the client is still there: who leaves has nobody work for it any more."""

from __future__ import annotations

import asyncio
from types import TracebackType

from mycelia.asgi.scope import Receive

__all__ = ["Attendance"]


class Attendance:
    """Inside `async with`, the current task is cancelled when the client leaves; then `left` is true.

    The cancellation ends at the block: after it the task goes on as if it had never been. Entered when the body of the
    request is here, since until then the body's reader hears of it.
    """

    __slots__ = ("_receive", "_task", "_watch", "left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.left = False

    async def __aenter__(self) -> Attendance:
        self._task = asyncio.current_task()
        self._watch = asyncio.create_task(self._listen(), name="mycelia-attendance")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._watch is not None and self._task is not None
        self._watch.cancel()
        if not self.left:
            return False
        return self._task.uncancel() == 0 and kind is asyncio.CancelledError

    async def _listen(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # a server that cannot tell; then nobody knows
            return
        self.left = True
        if self._task is not None:
            self._task.cancel()
