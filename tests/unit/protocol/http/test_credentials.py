"""Cookies of a handshake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.http.credentials import cookies
from mycelia.protocol.http.request import Handshake, Headers


def of(*lines: str) -> dict[str, str]:
    return dict(cookies(Handshake("GET", "/ws", Headers(("Cookie", line) for line in lines))))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((), {}),
        (("",), {}),
        (("sid=a",), {"sid": "a"}),
        (("sid=a; theme=dark",), {"sid": "a", "theme": "dark"}),
        (("sid=a;theme=dark;",), {"sid": "a", "theme": "dark"}),
        (("sid=a", "theme=dark"), {"sid": "a", "theme": "dark"}),
        (('sid="a b"',), {"sid": "a b"}),
        (('sid="',), {"sid": '"'}),
        (("sid=a=b==",), {"sid": "a=b=="}),
        (("sid",), {}),
        (("=a",), {}),
        (("sid=",), {"sid": ""}),
        (("SID=a; sid=b",), {"SID": "a", "sid": "b"}),
        (("sid=a; sid=a",), {"sid": "a"}),
        (("sid=a; x=1; sid=b",), {"x": "1"}),
        (("sid=a", "sid=b; sid=a"), {}),
    ],
)
def test_cookies(lines: tuple[str, ...], found: dict[str, str]) -> None:
    assert of(*lines) == found


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=50), max_size=4))
def test_any_line_is_read(lines: list[str]) -> None:
    assert all(name for name in of(*lines))
