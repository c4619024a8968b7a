"""Which Engine.IO requests are rejected, and with which error response."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json

from mycelia.protocol.engineio.requests import ErrorResponse, check_request

POLLING = {"EIO": "4", "transport": "polling"}
SOCKET = {"EIO": "4", "transport": "websocket"}


@pytest.mark.parametrize(
    ("method", "query", "upgrade", "known", "refusal"),
    [
        ("GET", POLLING, False, False, None),
        ("GET", SOCKET, True, False, None),
        ("GET", POLLING | {"sid": "a"}, False, True, None),
        ("POST", POLLING | {"sid": "a"}, False, True, None),
        ("GET", SOCKET | {"sid": "a"}, True, True, None),
        ("GET", {"EIO": "4"}, False, False, ErrorResponse.UNKNOWN_TRANSPORT),
        ("GET", {"EIO": "4", "transport": "abc"}, False, False, ErrorResponse.UNKNOWN_TRANSPORT),
        ("GET", {"transport": "polling"}, False, False, ErrorResponse.UNSUPPORTED_VERSION),
        ("GET", {"transport": "polling", "EIO": "3"}, False, False, ErrorResponse.UNSUPPORTED_VERSION),
        ("GET", {"transport": "websocket", "EIO": "abc"}, True, False, ErrorResponse.UNSUPPORTED_VERSION),
        ("POST", POLLING, False, False, ErrorResponse.BAD_METHOD),
        ("PUT", POLLING, False, False, ErrorResponse.BAD_METHOD),
        ("PUT", POLLING | {"sid": "a"}, False, True, ErrorResponse.BAD_REQUEST),
        ("GET", POLLING | {"sid": "a"}, False, False, ErrorResponse.UNKNOWN_SESSION),
        ("POST", POLLING | {"sid": ""}, False, False, ErrorResponse.UNKNOWN_SESSION),
        ("GET", POLLING, True, False, ErrorResponse.BAD_REQUEST),
        ("GET", SOCKET, False, False, ErrorResponse.BAD_REQUEST),
    ],
)
def test_who_is_refused_and_how(
    method: str, query: Any, upgrade: bool, known: bool, refusal: ErrorResponse | None
) -> None:
    assert check_request(method, query, upgrade, known) is refusal


@pytest.mark.parametrize("refusal", ErrorResponse)
def test_a_refusal_says_its_code_in_json(refusal: ErrorResponse) -> None:
    assert json.decode(refusal.body) == {"code": refusal.code, "message": refusal.message}
    assert 400 <= refusal.status < 500
