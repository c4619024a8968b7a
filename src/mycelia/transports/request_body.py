"""A request's body on its way: how it is read, and how much all of them together may hold."""

from __future__ import annotations

from collections.abc import Callable

from mycelia.asgi.scope import Receive
from mycelia.transports.receive_budget import ReceiveBudget

__all__ = ["Upload"]


class Upload:
    """One body. `gave_up` is called when it must go, since too much of unfinished messages is held."""

    __slots__ = ("_body", "_budget", "_gave_up", "held_bytes")

    def __init__(self, budget: ReceiveBudget, gave_up: Callable[[], object]) -> None:
        self._budget, self._gave_up = budget, gave_up
        self._body: bytearray | None = bytearray()
        self.held_bytes = 0

    async def read(self, receive: Receive, most: int) -> bytes | None:
        """The body, of which no more is read than shows that it is too large; None when it breaks off or had to go."""
        more = True
        try:
            while more and self._body is not None and self.held_bytes <= most:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                more = event.get("more_body", False)
                if self._body is not None:
                    self._body += event.get("body", b"")
                    self._account(len(self._body))
            return None if self._body is None else bytes(self._body)
        finally:
            self._account(0)

    def fail(self, code: int, reason: str) -> None:
        """Lets go of what has come (called by the budget)."""
        self._body = None
        self._account(0)
        self._gave_up()

    def _account(self, held: int) -> None:
        change, self.held_bytes = held - self.held_bytes, held
        if change:
            self._budget.changed(self, change)
