from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response, ResponseMetadata
from mycelia.realtime.connection.work import UntransformedMessage
from mycelia.realtime.outbound.transforms import Transforms
from tests.support.names import shown
from tests.unit.realtime.support import staged

ANSWER = Response(True, {"a": 1}, 7, None, ResponseMetadata("t", 5))


def slowly(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def transform(value: Any) -> Any:
        await asyncio.sleep(0)
        return plain(value)

    return transform


def broken(value: Any) -> Any:
    raise ValueError("secret of the transform")


either = pytest.mark.parametrize("made", [lambda plain: plain, slowly], ids=["plain", "async"])


@either
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"do": 1}, Request("app://1", None, None)),
        ({"told": "e"}, Event("e")),
        ({"yes": 5}, Response(True, 5)),
    ],
)
async def test_what_it_makes_is_judged_as_an_envelope(made: Any, given: Any, expected: Any) -> None:
    def plain(value: dict[str, Any]) -> dict[str, Any]:
        [(key, held)] = value.items()
        return {"do": {"path": f"app://{held}"}, "told": {"event": held}, "yes": {"success": True, "data": held}}[key]

    assert await Transforms(made(plain), None).read(UntransformedMessage(given), "c") == expected


@either
@pytest.mark.parametrize("result", [None, 5, [], {"path": 5}, {"path": "a://b", "event": "e"}])
async def test_what_is_no_envelope_is_a_fault_of_the_protocol(made: Any, result: Any) -> None:
    with pytest.raises(ProtocolFault) as caught:
        await Transforms(made(lambda value: result), None).read(UntransformedMessage({}), "c")
    assert caught.value.code == "INVALID_MESSAGE"


@either
async def test_an_incoming_transform_that_raises_is_logged_not_told(
    made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ProtocolFault) as caught:
        await Transforms(made(broken), None).read(UntransformedMessage({}), "c")
    assert caught.value.code == "INVALID_MESSAGE" and "secret" not in str(caught.value)
    assert caught.value.details is not None and str(caught.value.details["errorId"]) in caplog.text


@either
async def test_outgoing_gets_the_mapping_and_gives_the_packet(made: Any) -> None:
    seen: list[Any] = []

    def plain(value: dict[str, Any]) -> dict[str, Any]:
        seen.append(value)
        return {"mine": value["data"]}

    async with staged() as stand:
        connection, _ = stand.open_plain()
        packet = await Transforms(None, made(plain)).pack(ANSWER, connection, "t")
    assert json.loads(packet) == {"mine": {"a": 1}}
    [mapping] = seen
    assert (mapping["success"], mapping["data"], mapping["correlationId"], mapping["error"]) == (
        True,
        {"a": 1},
        7,
        None,
    )


@either
@pytest.mark.parametrize("plain", [broken, lambda value: object()], ids=["raises", "cannot be encoded"])
async def test_an_outgoing_transform_that_fails_is_an_answer_with_the_same_correlation_id(
    made: Any, plain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged() as stand:
        connection, _ = stand.open_plain()
        packet = await Transforms(None, made(plain)).pack(ANSWER, connection, "t")
    told = json.loads(packet)
    assert (told["success"], told["correlationId"], told["error"]["code"]) == (False, 7, "HANDLER_ERROR")
    assert told["metadata"]["traceId"] == "t" and b"secret" not in packet
    assert told["error"]["details"]["errorId"] in caplog.text


@pytest.mark.parametrize("correlation_id", [object(), "\ud800", float("nan")], ids=shown)
async def test_a_correlation_id_of_the_applications_own_making_cannot_keep_the_answer_back(correlation_id: Any) -> None:
    async with staged() as stand:
        connection, _ = stand.open_plain()
        transforms = Transforms(None, broken)
        packet = await transforms.pack(Response(True, 1, correlation_id), connection, "t")
    told = json.loads(packet)
    assert (told["success"], told["correlationId"], told["error"]["code"]) == (False, None, "HANDLER_ERROR")
