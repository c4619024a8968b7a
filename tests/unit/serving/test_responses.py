from __future__ import annotations

from typing import Any

import pytest

from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import Response
from mycelia.serving.error_mapping import standard_error
from mycelia.serving.responses import error_response, outcome_response, pack_error_response


@pytest.mark.parametrize(
    ("value", "success", "data", "code"),
    [
        (None, True, None, None),
        (0, True, 0, None),
        ({"a": 1}, True, {"a": 1}, None),
        ({"success": True, "data": 5}, True, 5, None),
        ({"success": True, "data": 5, "extra": 1}, True, {"success": True, "data": 5, "extra": 1}, None),
        ({"success": "yes"}, True, {"success": "yes"}, None),
        ({"success": False, "error": "text"}, False, None, "HANDLER_ERROR"),
        ({"success": False, "error": {"code": "MINE", "message": "m"}, "data": 7}, False, 7, "MINE"),
        ({"success": False}, False, None, "HANDLER_ERROR"),
    ],
)
def test_what_a_handler_returned(value: Any, success: bool, data: Any, code: str | None) -> None:
    response = outcome_response(value, ["any", 1], "t")
    assert (response.success, response.data, response.correlation_id) == (success, data, ["any", 1])
    assert (response.error.code if response.error else None) == code
    assert getattr(response.metadata, "trace_id", None) == "t"


def test_an_error_has_its_correlation_id_and_trace() -> None:
    response = error_response(standard_error(Code.TIMEOUT), 5, "t", {"partial": 1})
    assert (response.success, response.data, response.correlation_id) == (False, {"partial": 1}, 5)


def test_an_error_whose_correlation_id_cannot_be_encoded_goes_without_it() -> None:
    def pack(response: Response) -> bytes:
        if response.correlation_id is not None:
            raise ValueError("cannot be encoded")
        return str(response.error and response.error.code).encode()

    assert pack_error_response(pack, standard_error(Code.TIMEOUT), object(), "t") == b"TIMEOUT"
