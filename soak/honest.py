"""Honest clients: each asks, waits for the answer, and asks again a while later."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from soak.wire import Addresses, Link, Target, enter, message

__all__ = ["Control", "Crowd"]

_PING, _PONG = b"\x89\x80\x00\x00\x00\x00", b"\x8a\x80\x00\x00\x00\x00"
_PATIENCE = 20.0


@dataclass
class Crowd:
    """So many honest clients and what became of their requests."""

    target: Target
    clients: int
    interval: float = 1.0
    latencies: list[float] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    wrong: int = 0
    lost: int = 0  # connections that ended although nobody wanted it
    _members: list[_Member] = field(default_factory=list)

    async def enter(self) -> None:
        """Connects everybody."""
        addresses = Addresses(55)
        for _ in range(self.clients):
            member = _Member(self)
            member.link = await enter(self.target, addresses.next(), member.frame)
            self._members.append(member)

    async def ask_for(self, seconds: float) -> None:
        """Everybody asks for so long, evenly spread; returns when all that was asked is answered or given up."""
        async with asyncio.TaskGroup() as group:
            for number, member in enumerate(self._members):
                group.create_task(member.ask_for(seconds, self.interval * number / self.clients))
        self.lost += sum(not member.alive for member in self._members)

    async def leave(self) -> None:
        """Everybody goes; returns when they are gone, so that the server need not wait for anybody."""
        links = [member.link for member in self._members if member.link is not None]
        for link in links:
            link.drop()
        await asyncio.gather(*[link.closed for link in links])
        self._members.clear()


class _Member:
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.link: Link | None = None
        self._answer: asyncio.Future[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.link is not None and self.link.alive

    def frame(self, opcode: int, payload: bytes) -> None:
        if opcode == 9 and self.link is not None:
            self.link.write(_PONG)
        elif opcode == 1 and self._answer is not None and not self._answer.done() and b'"success"' in payload:
            self._answer.set_result(payload)

    async def ask_for(self, seconds: float, offset: float) -> None:
        crowd, loop = self._crowd, asyncio.get_running_loop()
        until, number = loop.time() + seconds, 0
        await asyncio.sleep(offset)
        while loop.time() < until and self.alive and self.link is not None:
            number += 1
            request = message(f'{{"path":"soak://echo","body":{{"n":{number}}},"correlationId":"{number}"}}')
            self._answer = loop.create_future()
            crowd.asked += 1
            began = perf_counter()
            self.link.write(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    ends: list[asyncio.Future[Any]] = [self._answer, self.link.closed]
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._answer.done():
                self._answer.cancel()
                continue
            crowd.latencies.append(perf_counter() - began)
            crowd.answered += 1
            crowd.wrong += b'"data":{"n":%d}' % number not in self._answer.result()
            await asyncio.sleep(max(0.0, crowd.interval - (perf_counter() - began)))


class Control:
    """One more client, which asks the server how it is."""

    def __init__(self) -> None:
        self.quiet_tasks = 10**9  # more than these are not quiet
        self._link: Link | None = None
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def over(cls, target: Target) -> Control:
        """A connection of its own."""
        made = cls()
        made._link = await enter(target, "127.0.0.1", made._frame)
        return made

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == 9 and self._link is not None:
            self._link.write(_PONG)
        elif b'"success"' in payload and self._answer is not None and not self._answer.done():
            self._answer.set_result(payload)

    async def state(self) -> dict[str, int]:
        """How many tasks and connections the server has, this one included."""
        found: dict[str, int] = await self._ask("soak://state")
        return found

    def ping(self) -> None:
        """Sends a ping."""
        assert self._link is not None
        self._link.write(_PING)

    async def relieve(self) -> None:
        """Has the server give back what memory it holds and does not use."""
        await self._ask("soak://relief")

    async def _ask(self, path: str) -> Any:
        assert self._link is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._link.write(message(f'{{"path":"{path}","correlationId":"s"}}'))
        async with asyncio.timeout(_PATIENCE):
            return json.loads(await self._answer)["data"]

    async def settled(self) -> dict[str, int]:
        """The state once nobody but this client is connected."""
        while True:
            state = await self.state()
            if state["connections"] <= 1 and state["tasks"] <= self.quiet_tasks:
                return state
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        """Goes."""
        if self._link is not None:
            self._link.drop()
            await self._link.closed
