from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.http.request import Headers
from mycelia.protocol.http.traceparent import trace_id_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"cc-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-has", True),
        (f"cc-{TRACE}-{PARENT}-01-", True),
        (f"cc-{TRACE}-{PARENT}-01.x", False),
        (f"00-{TRACE}-{PARENT}-01-x", False),
        (f"00-{TRACE}-{PARENT}-01-", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}", False),
        (f"00-{TRACE}-{PARENT}-1", False),
        (f"00-{TRACE[1:]}-{PARENT}-01", False),
        (f"00-{TRACE}0-{PARENT}-01", False),
        (f"0-{TRACE}-{PARENT}-01", False),
        (f" 00-{TRACE}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}-01\n", False),
        ("", False),
    ],
)
def test_the_rules(value: str, good: bool) -> None:
    assert trace_id_of(Headers([("traceparent", value)])) == (TRACE if good else None)


def test_there_is_one_or_none() -> None:
    line = ("TraceParent", f"00-{TRACE}-{PARENT}-01")
    assert trace_id_of(Headers([line])) == TRACE
    assert trace_id_of(Headers([line, line])) is None
    assert trace_id_of(Headers()) is None


@given(
    st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{15,17}-[0-9a-f]{2}.?", fullmatch=True))
)
def test_whatever_comes_is_a_trace_id_or_none(value: str) -> None:
    found = trace_id_of(Headers([("traceparent", value)]))
    assert found is None or (re.fullmatch("[0-9a-f]{32}", found) and found in value and found != "0" * 32)
