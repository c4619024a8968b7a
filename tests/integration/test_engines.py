"""The engine suite over every engine of ours, on both event loops."""

from __future__ import annotations

import pytest

from mycelia.testing.engines import EngineCheck, engine_checks
from mycelia.websocket.engines.base import load_engine

ENGINES = ["picows", "websockets", "memory"]


@pytest.mark.every_loop
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("check", engine_checks(), ids=str)
async def test_engine(check: EngineCheck, engine: str) -> None:
    await check(load_engine(engine))
