from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.errors import ConnectionNotFound, HandlerError, InvalidMessage, Overloaded, RequestTimeout
from mycelia.protocol.wire.envelope import Fault, Request, Response
from mycelia.realtime.connection.pending_requests import PendingRequests


def begin(asking: PendingRequests, correlation_id: str, timeout: float = 30.0) -> asyncio.Task[Any]:
    sent: list[Request] = []
    return asyncio.create_task(asking.ask(Request("client://x", None, correlation_id), timeout, sent.append))


async def test_answers_find_their_questions_in_any_order() -> None:
    asking = PendingRequests(10)
    tasks = [begin(asking, f"s-{number}") for number in range(5)]
    await asyncio.sleep(0)
    for number in (3, 0, 4, 1, 2):
        assert asking.answered(Response(True, number, f"s-{number}"))
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("correlation_id", ["s-2", None, 1, ["s-1"], {"a": 1}])
async def test_what_nobody_waits_for_is_told(correlation_id: Any) -> None:
    asking = PendingRequests(10)
    task = begin(asking, "s-1")
    await asyncio.sleep(0)
    assert asking.answered(Response(True, 1, correlation_id)) is False
    assert asking.answered(Response(True, 1, "s-1")) is True
    assert asking.answered(Response(True, 2, "s-1")) is False, "the second answer to one question"
    assert await task == 1
    assert asking.answered(Response(True, 3, "s-1")) is False


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [(Fault("BUSY", "not now"), "BUSY", "client: not now"), (None, "HANDLER_ERROR", "client: the client reported")],
)
async def test_a_failure_of_the_clients_is_a_handler_error_with_its_code(
    fault: Fault | None, code: str, text: str
) -> None:
    asking = PendingRequests(1)
    task = begin(asking, "s-1")
    await asyncio.sleep(0)
    asking.answered(Response(False, None, "s-1", fault))
    with pytest.raises(HandlerError, match=text) as caught:
        await task
    assert caught.value.code == code


async def test_no_answer_in_time() -> None:
    asking = PendingRequests(1)
    with pytest.raises(RequestTimeout, match=r"client://x: no answer within 0.01 s"):
        await begin(asking, "s-1", 0.01)
    assert asking.answered(Response(True, 1, "s-1")) is False


async def test_beyond_the_limit_nothing_is_sent_and_every_end_makes_room() -> None:
    def broken(request: Request) -> None:
        raise InvalidMessage("cannot be encoded")

    asking, sent = PendingRequests(1), list[Request]()
    first = begin(asking, "s-1")
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"limit 1"):
        await asking.ask(Request("client://x", None, "s-2"), 1, sent.append)
    assert not sent
    first.cancel()
    await asyncio.wait([first])
    with pytest.raises(InvalidMessage):
        await asking.ask(Request("client://x", object(), "s-3"), 1, broken)
    with pytest.raises(RequestTimeout):
        await begin(asking, "s-4", 0.01)
    last = begin(asking, "s-5")
    await asyncio.sleep(0)
    assert asking.answered(Response(True, "room", "s-5")) and await last == "room"


async def test_when_the_client_goes_everybody_is_told_once() -> None:
    asking = PendingRequests(5)
    tasks = [begin(asking, f"s-{number}") for number in range(3)]
    await asyncio.sleep(0)
    asking.answered(Response(True, "in time", "s-0"))
    asking.abandon("gone")
    asking.abandon("gone")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "in time"
    assert [str(error) for error in results[1:]] == ["no connection 'gone'"] * 2
    assert all(isinstance(error, ConnectionNotFound) for error in results[1:])


async def test_a_timeout_from_elsewhere_is_not_ours() -> None:
    def send(request: Request) -> None:
        raise TimeoutError("of the sender's own")

    with pytest.raises(TimeoutError, match="own"):
        await PendingRequests(1).ask(Request("client://x", None, "s-1"), 30, send)
