from __future__ import annotations

from typing import Any, cast

import pytest

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.http.request import HttpReply
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.stream.engine import StreamEngine
from tests.unit.transports.support import ENGINES

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


def refuse(request: object) -> HttpReply:
    return HttpReply(404, b"")


@each_engine
async def test_what_must_come_before_start(engine: type[StreamEngine]) -> None:
    made = engine()
    with pytest.raises(EngineError, match="admit"):
        await made.start(EngineOptions())
    with pytest.raises(EngineError, match="'admit', got 'message'"):
        made.on(cast(Any, "message"), refuse)
    made.on("admit", refuse)
    with pytest.raises(EngineError, match=rf"unknown option 'b' for the {engine.name} engine; known: none"):
        await made.start(EngineOptions(library={"c": 1, "b": 2}))
    assert made.address() is None
    await made.stop()


@each_engine
async def test_start_stop_and_start_again(engine: type[StreamEngine]) -> None:
    made = engine()
    made.on("admit", refuse)
    for _ in range(2):
        await made.start(EngineOptions())
        assert (address := made.address()) is not None and address[1] != 0
        with pytest.raises(NotRunning, match="already running"):
            await made.start(EngineOptions())
        await made.stop()
        await made.stop()
        assert made.address() is None
