"""Messages that a mock client has read and the test has not received yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from mycelia.errors import MyceliaError

__all__ = ["ConnectionEnded", "Inbox", "NothingArrived", "envelope_kind"]

_Found = TypeVar("_Found")
_SHOWN = 10  # messages that an error lists


class NothingArrived(MyceliaError, TimeoutError):
    """Raised when an expected message does not arrive in time.

    Attributes:
        what: The message that the test waited for, in words.
        seconds: How long the test waited.
        arrived: The messages that arrived and were not received.
    """

    code = "TIMEOUT"

    def __init__(self, what: str, seconds: float, arrived: list[Any]) -> None:
        self.what, self.seconds, self.arrived = what, seconds, arrived
        shown = [_describe(message) for message in arrived[:_SHOWN]]
        if len(arrived) > _SHOWN:
            shown.append(f"and {len(arrived) - _SHOWN} more")
        super().__init__(f"expected {what} within {seconds:g} s; not received yet: {', '.join(shown) or 'nothing'}")


class ConnectionEnded(MyceliaError, ConnectionError):
    """Raised when the connection ends before an expected message arrives.

    Attributes:
        what: The message that the test waited for, in words.
        close_code: The close code of the server, or 1006 if it sent no Close.
        reason: The close reason of the server.
    """

    def __init__(self, what: str, close_code: int, reason: str) -> None:
        self.what, self.close_code, self.reason = what, close_code, reason
        closed_with = f"{close_code} ({reason})" if reason else str(close_code)
        super().__init__(f"expected {what}, but the connection closed with {closed_with}")


def envelope_kind(message: Any) -> Literal["request", "response", "event", "other"]:
    """Return the kind of envelope that a decoded message is."""
    if isinstance(message, dict):
        if isinstance(message.get("event"), str):
            return "event"
        if isinstance(message.get("success"), bool):
            return "response"
        if isinstance(message.get("path"), str):
            return "request"
    return "other"


class Inbox:
    """A bounded queue of messages that can be searched.

    Args:
        limit: The number of messages from which on `wait_for_space` blocks.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._messages: deque[Any] = deque()
        self._changed, self._taken = asyncio.Event(), asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._discarding = False

    def __iter__(self) -> Iterator[Any]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def reset(self) -> None:
        """Forget the messages of the previous connection."""
        self._messages.clear()
        self._end, self._discarding = None, False

    def end(self, code: int, reason: str) -> None:
        """Record that the connection has ended. Messages that arrived before can still be taken."""
        self._end = code, reason
        self.notify()

    def discard_new(self) -> None:
        """Discard all messages from now on, so that the client reads until the connection ends."""
        self._discarding = True
        self._taken.set()

    def put(self, message: Any) -> None:
        """Append a message. The caller awaits `wait_for_space` afterwards to keep the limit."""
        if not self._discarding:
            self._messages.append(message)
            self.notify()

    async def wait_for_space(self) -> None:
        """Wait until fewer than `limit` messages are queued."""
        while len(self._messages) >= self.limit and not self._discarding:
            self._taken.clear()
            await self._taken.wait()

    def take(self, is_wanted: Callable[[Any], bool]) -> Any:
        """Remove and return the first message for which `is_wanted` returns True, or None without one."""
        for index, message in enumerate(self._messages):
            if is_wanted(message):
                del self._messages[index]
                self._taken.set()
                return message
        return None

    def notify(self) -> None:
        """Make every `wait_for` call its function again."""
        self._changed.set()

    async def wait_for(self, find: Callable[[], _Found | None], what: str, seconds: float) -> _Found:
        """Call `find` after every change until it returns a value, and return that value.

        Args:
            find: Returns None while there is nothing.
            what: The awaited message in words, for errors.
            seconds: The time limit.

        Raises:
            NothingArrived: The time is over.
            ConnectionEnded: The connection ended first.
        """
        try:
            async with asyncio.timeout(seconds):
                while (found := find()) is None:
                    if self._end is not None:
                        raise ConnectionEnded(what, *self._end)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NothingArrived(what, seconds, list(self._messages)) from None
        return found


def _describe(message: Any) -> str:
    match envelope_kind(message):
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
