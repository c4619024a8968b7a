from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.kernel.messages.outcome import FAILED, Fault, Outcome, read


@pytest.mark.parametrize(
    "value",
    [
        *(None, 0, False, "", [], {}, (), b"", 1.5, "text", object()),
        {"a": 1},
        {"success": 1},
        {"success": "true", "data": 1},
        {"success": None},
        {"success": True, "data": 1, "more": 2},
        {"success": False, "error": "x", "extra": 1},
        {"data": 1},
        {"success": True, 5: 1},
    ],
)
def test_everything_else_is_data(value: Any) -> None:
    assert read(value) == Outcome(True, value)


@pytest.mark.parametrize("data", [None, 0, False, "", [], {}, {"x": 1}])
def test_success(data: Any) -> None:
    assert read({"success": True, "data": data}) == Outcome(True, data)
    assert read(MappingProxyType({"success": True, "data": data, "error": None})) == Outcome(True, data)
    assert read({"success": True, "data": data, "metadata": {"a": 1}}).metadata == {"a": 1}


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("Unauthorized", Fault("Unauthorized")),
        ("", Fault(FAILED)),
        (None, Fault(FAILED)),
        (ValueError("secret"), Fault(FAILED)),
        (5, Fault(FAILED)),
        ({}, Fault(FAILED)),
        (
            {"code": "X", "message": "m", "details": {"a": 1}, "retryable": True},
            Fault("m", "X", {"a": 1}, True),
        ),
        ({"code": 5, "message": 6, "retryable": "yes"}, Fault(FAILED)),
    ],
)
def test_failure(error: Any, fault: Fault) -> None:
    assert read({"success": False, "error": error}) == Outcome(False, None, fault)


def test_failure_without_error() -> None:
    assert read({"success": False}) == Outcome(False, None, Fault(FAILED))
    assert Fault(FAILED).code == "HANDLER_ERROR"


@given(st.dictionaries(st.sampled_from(["success", "data", "error", "metadata", "x"]), st.booleans() | st.text()))
def test_an_envelope_is_exactly_what_the_rule_says(value: dict[str, Any]) -> None:
    envelope = type(value.get("success")) is bool and set(value) <= {"success", "data", "error", "metadata"}
    outcome = read(value)
    if envelope:
        assert (outcome.success, outcome.data) == (value["success"], value.get("data"))
        assert (outcome.error is None) is outcome.success
    else:
        assert outcome == Outcome(True, value)
