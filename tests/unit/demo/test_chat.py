from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia import BaseSubsystem, InvalidBody, Message, MessageSystem
from mycelia.demo.chat import Chat, Join
from mycelia.websocket import WebSocketConnection


def connection(name: str) -> WebSocketConnection:
    return cast(WebSocketConnection, SimpleNamespace(id=name))


class Room:
    """The chat on a system whose `websocket` only writes down what would be broadcast."""

    def __init__(self) -> None:
        self.system = MessageSystem("test")
        self.chat = Chat(self.system)
        self.heard: list[dict[str, Any]] = []
        listener = BaseSubsystem("websocket", ms=self.system)
        listener.register_route("websocket://broadcast", self._broadcast)

    async def _broadcast(self, body: dict[str, Any]) -> dict[str, int]:
        self.heard.append(body)
        return {"written": 2, "queued": 1, "dropped": 5}


@given(wanted=st.lists(st.text(alphabet="aA 2", min_size=1, max_size=4).filter(str.strip), max_size=8))
async def test_no_two_people_have_the_same_name(wanted: list[str]) -> None:
    room = Room()
    async with room.system:
        given = [
            (await room.chat.join(Join(name), connection(str(number))))["name"] for number, name in enumerate(wanted)
        ]
        assert len({name.casefold() for name in given}) == len(wanted)
        assert sorted(room.chat.who()) == sorted(given)
        for number in range(len(wanted)):
            await room.chat.leave(connection(str(number)))
        assert room.chat.who() == []


async def test_who_never_joined_leaves_without_a_word() -> None:
    room = Room()
    async with room.system:
        await room.chat.leave(connection("stranger"))
    assert room.heard == []


async def test_a_new_name_says_what_the_old_one_was() -> None:
    room = Room()
    async with room.system:
        await room.chat.join(Join("Ada"), connection("1"))
        await room.chat.join(Join("Countess"), connection("1"))
    assert room.heard[-1] == {"event": "chat.joined", "data": {"name": "Countess", "formerly": "Ada"}}


@pytest.mark.parametrize("name", ["", " \n", "x" * 25, None, 5])
async def test_a_name_is_bounded_and_visible(name: object) -> None:
    room = Room()
    async with room.system:
        with pytest.raises(InvalidBody) as refused:
            await room.system.send(Message("chat://join", {"name": name}))
        assert refused.value.at == "$.name"
