"""The chat: `chat://join`, `chat://say` and `chat://who`, and the events that everybody sees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from mycelia import BaseSubsystem, Message, MessageSystem
from mycelia.websocket import WebSocketConnection

__all__ = ["Chat", "Join", "Say"]

NOT_BLANK = r"\S"


class Join(Struct, frozen=True):
    """The body of `chat://join`."""

    name: Annotated[str, Meta(max_length=24, pattern=NOT_BLANK)]


class Say(Struct, frozen=True):
    """The body of `chat://say`; who says it is known from the connection, never from the body."""

    text: Annotated[str, Meta(max_length=1000, pattern=NOT_BLANK)]


class Chat(BaseSubsystem):
    """Knows who is here, and tells all clients who comes, who goes, and what is said.

    Events: `chat.joined {name, formerly}`, `chat.said {name, text, at}`, `chat.left {name}`.
    """

    def __init__(self, system: MessageSystem) -> None:
        super().__init__("chat", ms=system)
        self._system = system
        self._names: dict[str, str] = {}  # connection id → name
        self.register_route("chat://join", self.join, expose=True)
        self.register_route("chat://say", self.say, expose=True)
        self.register_route("chat://who", self.who, expose=True, safe=True)

    async def join(self, body: Join, connection: WebSocketConnection) -> dict[str, Any]:
        """Gives the client a name that nobody else has, or another one; answers it and who is here."""
        formerly = self._names.pop(connection.id, None)
        name = self._names[connection.id] = self._free(" ".join(body.name.split()))
        await self._tell("chat.joined", {"name": name, "formerly": formerly})
        return {"name": name, "people": self.who()}

    async def say(self, body: Say, connection: WebSocketConnection) -> dict[str, Any]:
        """Passes the text on to everybody; refused is who has no name yet."""
        name = self._names.get(connection.id)
        if name is None:
            return {
                "success": False,
                "error": {"code": "FORBIDDEN", "message": "first join with chat://join"},
            }
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {"heardBy": await self._tell("chat.said", {"name": name, "text": body.text, "at": at})}

    def who(self) -> list[str]:
        """The names of all who joined, in the order of the alphabet."""
        return sorted(self._names.values(), key=str.casefold)

    async def leave(self, connection: WebSocketConnection) -> None:
        """For `websocket://disconnect`, which comes once per connection, however it ended."""
        name = self._names.pop(connection.id, None)
        if name is not None:
            await self._tell("chat.left", {"name": name})

    async def _tell(self, event: str, data: dict[str, Any]) -> int:
        """Sends an event to all clients; returns how many it went to."""
        message = Message("websocket://broadcast", {"event": event, "data": data})
        result: dict[str, int] = await self._system.send(message)
        return result["written"] + result["queued"]

    def _free(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it unlike every name here."""
        taken = {name.casefold() for name in self._names.values()}
        name, number = wanted, 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted} {number}"
        return name
