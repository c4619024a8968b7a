"""The founding design, the format of replies: requirements 84 to 87."""

from __future__ import annotations

from time import time
from typing import Any

import pytest

from mycelia import Forbidden
from tests.seed.stage import Stage, each_engine, serving

FALSY: list[Any] = [0, 0.0, False, "", [], {}, None]


@each_engine
async def test_a_reply_has_the_keys_of_the_founding_design(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        before = int(time() * 1000)
        answer = await client.send(
            {"path": "app://echo", "body": 1, "correlationId": "c-1", "metadata": {"traceId": "t-1"}}
        )
        metadata = answer.pop("metadata")
        assert answer == {"success": True, "data": 1, "correlationId": "c-1", "error": None}
        assert metadata["traceId"] == "t-1" and set(metadata) == {"traceId", "timestamp"}
        assert type(metadata["timestamp"]) is int and before <= metadata["timestamp"] <= time() * 1000


@pytest.mark.parametrize("protocols", [[], ["mycelia.v1.msgpack"]])
@pytest.mark.parametrize("value", FALSY)
async def test_falsy_data_stays_itself(value: Any, protocols: list[str]) -> None:
    async with serving() as stage, stage.client(subprotocols=protocols) as client:
        stage.app.register_route("app://wrapped", lambda: {"success": True, "data": value}, expose=True)
        for path, body in [("app://echo", value), ("app://wrapped", None)]:
            answer = await client.send({"path": path, "body": body})
            assert answer["success"] is True and "data" in answer
            assert answer["data"] == value and type(answer["data"]) is type(value)


@pytest.mark.parametrize(
    ("error", "code", "message", "details"),
    [
        ("Unauthorized", "HANDLER_ERROR", "Unauthorized", None),
        ({"code": "NO_CREDIT", "message": "pay first", "details": {"due": 5}}, "NO_CREDIT", "pay first", {"due": 5}),
        ({"message": "only text"}, "HANDLER_ERROR", "only text", None),
        (None, "HANDLER_ERROR", "the handler reported a failure", None),
    ],
)  # fmt: skip
async def test_a_failure_has_code_message_and_details(error: Any, code: str, message: str, details: Any) -> None:
    async with serving() as stage, stage.client() as client:
        stage.app.register_route("app://no", lambda: {"success": False, "error": error}, expose=True)
        answer = await client.send({"path": "app://no", "correlationId": "corr-1"})
        assert answer["success"] is False and answer["correlationId"] == "corr-1"
        told = {"code": code, "message": message, "details": details, "retryable": False}
        assert answer["error"] == told


@each_engine
async def test_the_text_of_an_exception_stays_on_the_server(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://boom", expose=True)
        async def boom(message: Any, params: Any, options: Any) -> None:
            raise ValueError("the password is 12345")

        @stage.app.route("app://never", expose=True)
        async def never(message: Any, params: Any, options: Any) -> None:
            raise Forbidden("because of the internal list")

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        answer = await client.send({"path": "app://boom"})
        assert "12345" not in repr(answer) and answer["error"]["code"] == "HANDLER_ERROR"
        assert answer["error"]["details"]["errorId"] in caplog.text and "12345" in caplog.text
        refused = await client.send({"path": "app://never"})
        assert refused["error"]["code"] == "FORBIDDEN" and "internal list" not in repr(refused)
