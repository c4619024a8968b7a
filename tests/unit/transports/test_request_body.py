"""A request's body on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.request_body import Upload


def bringing(*events: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(events)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


def piece(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("events", "body"),
    [
        ([piece(b"abc", False)], b"abc"),
        ([piece(b"ab"), piece(b""), piece(b"c", False)], b"abc"),
        ([{"type": "http.request"}], b""),
        ([piece(b"ab"), {"type": "http.disconnect"}], None),
        ([piece(b"abcd"), piece(b"efgh"), piece(b"never read", False)], b"abcdefgh"),
    ],
)
async def test_a_body_is_read_to_its_end_or_until_it_is_too_large(
    events: list[dict[str, Any]], body: bytes | None
) -> None:
    budget = ReceiveBudget(100, 10)
    assert await Upload(budget, lambda: None).read(bringing(*events), 5) == body
    assert budget.total_bytes == 0


async def test_the_largest_goes_when_all_together_hold_too_much() -> None:
    budget, gone = ReceiveBudget(100, 10), list[str]()
    small, large = Upload(budget, lambda: gone.append("small")), Upload(budget, lambda: gone.append("large"))
    hold, held = asyncio.Event(), asyncio.Event()
    brought = [piece(b"x" * 70), piece(b"y", False)]

    async def slowly() -> dict[str, Any]:
        if len(brought) < 2:
            held.set()
            await hold.wait()
        return brought.pop(0)

    reading = asyncio.create_task(large.read(slowly, 1000))
    async with asyncio.timeout(5):
        await held.wait()
    assert await small.read(bringing(piece(b"z" * 40, False)), 1000) == b"z" * 40
    assert (gone, large.held_bytes, budget.total_bytes) == (["large"], 0, 0)
    hold.set()
    assert await reading is None
    assert budget.total_bytes == 0
