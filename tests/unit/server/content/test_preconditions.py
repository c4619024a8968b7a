from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.http.request import Handshake, Headers
from mycelia.server.content.preconditions import Span, is_not_modified, requested_span

TAG, MODIFIED, SIZE = '"a-1"', 1_700_000_000, 10
THEN, LATER, EARLIER = (formatdate(MODIFIED + each, usegmt=True) for each in (0, 60, -60))


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ([], False),
        ([("If-None-Match", TAG)], True),
        ([("If-None-Match", f"W/{TAG}")], True),
        ([("If-None-Match", f'"b", {TAG}')], True),
        ([("If-None-Match", '"b"'), ("If-None-Match", TAG)], True),
        ([("If-None-Match", "*")], True),
        ([("If-None-Match", '"b"')], False),
        ([("If-None-Match", "a-1")], False),
        ([("If-None-Match", '"b"'), ("If-Modified-Since", LATER)], False),
        ([("If-Modified-Since", THEN)], True),
        ([("If-Modified-Since", LATER)], True),
        ([("If-Modified-Since", EARLIER)], False),
        ([("If-Modified-Since", "yesterday")], False),
        ([("If-Modified-Since", "Mon, 99 Foo 2026 00:00:00 GMT")], False),
        ([("If-Modified-Since", THEN), ("If-Modified-Since", THEN)], False),
    ],
)
def test_whether_the_client_has_it(headers: list[tuple[str, str]], same: bool) -> None:
    assert is_not_modified(Headers(headers), TAG, MODIFIED) is same


def span(headers: list[tuple[str, str]], method: str = "GET", size: int = SIZE) -> Span | None:
    return requested_span(Handshake(method, "/", Headers(headers)), TAG, MODIFIED, size)


WHOLE = Span(0, SIZE, False)


@pytest.mark.parametrize(
    ("given_range", "expected"),
    [
        ("bytes=0-0", Span(0, 1, True)),
        ("bytes=2-4", Span(2, 5, True)),
        ("bytes=2-", Span(2, 10, True)),
        ("bytes=0-99", Span(0, 10, True)),
        ("bytes=-3", Span(7, 10, True)),
        ("bytes=-99", Span(0, 10, True)),
        ("Bytes=9-9", Span(9, 10, True)),
        ("bytes=10-", None),
        ("bytes=10-11", None),
        ("bytes=-0", None),
        ("bytes=4-2", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=0-1,3-4", WHOLE),
        ("bytes=a-b", WHOLE),
        ("lines=0-1", WHOLE),
        ("bytes=99999999999999999999-", WHOLE),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-", WHOLE),
    ],
)
def test_ranges(given_range: str, expected: Span | None) -> None:
    assert span([("Range", given_range)]) == expected
    assert span([("Range", given_range)], "HEAD") == WHOLE
    assert span([("Range", given_range), ("Range", given_range)]) == WHOLE


@pytest.mark.parametrize(
    ("condition", "counts"),
    [(TAG, True), (f"W/{TAG}", False), ('"b"', False), (THEN, True), (LATER, False), (EARLIER, False), ("x", False)],
)
def test_a_range_of_another_file_is_the_whole(condition: str, counts: bool) -> None:
    assert span([("Range", "bytes=1-"), ("If-Range", condition)]) == (Span(1, 10, True) if counts else WHOLE)


@given(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.integers(0, 40))
def test_a_span_lies_in_the_file(text: str, size: int) -> None:
    found = span([("Range", text)], size=size)
    assert found is None or 0 <= found.begin <= found.end <= size
    assert found is None or not found.partial or found.begin < found.end
