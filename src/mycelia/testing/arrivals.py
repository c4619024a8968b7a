"""What has arrived at a test's client and waits to be received, and the waiting for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from mycelia.errors import MyceliaError

__all__ = ["Arrivals", "ConnectionEnded", "NothingArrived", "kind_of"]

_Found = TypeVar("_Found")
_SHOWN = 10


class NothingArrived(MyceliaError, TimeoutError):
    """What a test waited for did not come in time; `arrived` is what came and was not received."""

    code = "TIMEOUT"

    def __init__(self, what: str, seconds: float, arrived: list[Any]) -> None:
        self.what, self.seconds, self.arrived = what, seconds, arrived
        shown = [_describe(message) for message in arrived[:_SHOWN]]
        if len(arrived) > _SHOWN:
            shown.append(f"and {len(arrived) - _SHOWN} more")
        super().__init__(f"expected {what} within {seconds:g} s; not received yet: {', '.join(shown) or 'nothing'}")


class ConnectionEnded(MyceliaError, ConnectionError):
    """The connection ended before what a test waited for; `close_code` and `reason` are the server's."""

    def __init__(self, what: str, close_code: int, reason: str) -> None:
        self.what, self.close_code, self.reason = what, close_code, reason
        told = f"{close_code} ({reason})" if reason else str(close_code)
        super().__init__(f"expected {what}, but the connection closed with {told}")


def kind_of(message: Any) -> Literal["request", "response", "event", "other"]:
    """Which envelope a decoded message is."""
    if isinstance(message, dict):
        if isinstance(message.get("event"), str):
            return "event"
        if isinstance(message.get("success"), bool):
            return "response"
        if isinstance(message.get("path"), str):
            return "request"
    return "other"


class Arrivals:
    """A bounded queue that is searched, not only read from its front."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._messages: deque[Any] = deque()
        self._news, self._taken = asyncio.Event(), asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._dropping = False

    def __iter__(self) -> Iterator[Any]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self) -> None:
        """A new connection: nothing has arrived."""
        self._messages.clear()
        self._end, self._dropping = None, False

    def end(self, code: int, reason: str) -> None:
        """The connection has ended; what has arrived can still be taken."""
        self._end = code, reason
        self.changed()

    def drop_all(self) -> None:
        """From now on nothing is kept, so that reading goes on to the end."""
        self._dropping = True
        self._taken.set()

    def put(self, message: Any) -> None:
        """Adds one; the bound is kept by whoever awaits `room` after it."""
        if not self._dropping:
            self._messages.append(message)
            self.changed()

    async def room(self) -> None:
        """Waits until fewer than `limit` wait here."""
        while len(self._messages) >= self.limit and not self._dropping:
            self._taken.clear()
            await self._taken.wait()

    def take(self, wanted: Callable[[Any], bool]) -> Any:
        """Takes out and returns the first that is wanted; None when there is none."""
        for at, message in enumerate(self._messages):
            if wanted(message):
                del self._messages[at]
                self._taken.set()
                return message
        return None

    def changed(self) -> None:
        """Lets everybody who waits look again."""
        self._news.set()

    async def until(self, look: Callable[[], _Found | None], what: str, seconds: float) -> _Found:
        """Waits until `look` finds something. Raises NothingArrived and ConnectionEnded."""
        try:
            async with asyncio.timeout(seconds):
                while (found := look()) is None:
                    if self._end is not None:
                        raise ConnectionEnded(what, *self._end)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise NothingArrived(what, seconds, list(self._messages)) from None
        return found


def _describe(message: Any) -> str:
    match kind_of(message):
        case "event":
            return f"event {message['event']!r}"
        case "response":
            state = "success" if message["success"] else (message.get("error") or {}).get("code", "failure")
            return f"response {message.get('correlationId')!r} ({state})"
        case "request":
            return f"message for {message['path']!r}"
        case _:
            text = repr(message)
            return text if len(text) <= 80 else f"{text[:77]}..."
