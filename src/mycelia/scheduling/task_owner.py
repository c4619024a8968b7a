"""The owner of background tasks: it keeps them, reports their failures and ends them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

__all__ = ["TaskOwner"]


class TaskOwner:
    """Keeps the tasks of one subsystem until they end.

    Args:
        logger: Gets the failures of tasks, and the names of those that do not end.
        prepare: Sets context variables in the context that each task runs in.
    """

    def __init__(self, logger: logging.Logger, prepare: Callable[[], object] | None = None) -> None:
        self._logger, self._prepare = logger, prepare
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str, log_failure: bool = True) -> asyncio.Task[Any]:
        """Run a coroutine in a task that this owner keeps.

        Args:
            work: The coroutine.
            name: The name of the task, for logs and debuggers.
            log_failure: False if the caller awaits the task and gets its exception.

        Returns:
            The task.
        """
        context: Context = copy_context()
        if self._prepare is not None:
            context.run(self._prepare)
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended if log_failure else self._tasks.discard)
        return task

    async def close(self, seconds: float, cancelling: Callable[[], object] | None = None) -> None:
        """End every task that is still running: wait for it, then cancel it, then wait for that too.

        Args:
            seconds: How long to wait each time.
            cancelling: Called once before tasks are cancelled.
        """
        for cancel in (False, True):
            tasks = [task for task in self._tasks if task is not asyncio.current_task()]
            if not tasks:
                return
            if cancel:
                if cancelling is not None:
                    cancelling()
                for task in tasks:
                    task.cancel()
            await asyncio.wait(tasks, timeout=seconds)
        if self._tasks:
            names = [task.get_name() for task in self._tasks]
            self._logger.warning("%d tasks do not end after they were cancelled: %s", len(names), names)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("task %s failed", task.get_name(), exc_info=error)
