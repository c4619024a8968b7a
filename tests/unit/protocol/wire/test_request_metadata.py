from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.wire.request_metadata import timeout_seconds, wants_no_reply


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, False),
        ({}, False),
        ({"noReply": True}, True),
        ({"noReply": False}, False),
        ({"noReply": 1}, False),
        ({"noReply": "true"}, False),
        ({"no_reply": True}, False),
    ],
)
def test_no_reply(metadata: dict[str, Any] | None, expected: bool) -> None:
    assert wants_no_reply(metadata) is expected


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (1, 0.001),
        (1500, 1.5),
        (0.5, 0.0005),
        (86_400_000, 86_400.0),
        (86_400_001, None),
        (0, None),
        (-1, None),
        (True, None),
        ("5", None),
        (None, None),
        ([5], None),
        (float("inf"), None),
        (10**18, None),
    ],
)
def test_timeout_ms(given: Any, seconds: float | None) -> None:
    assert timeout_seconds({"timeoutMs": given}) == seconds
    assert timeout_seconds({}) is None


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_a_timeout_is_none_or_between_zero_and_a_day(value: Any) -> None:
    found = timeout_seconds({"timeoutMs": value})
    assert found is None or 0 < found <= 86_400
