from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.http.forwarded import Hop, read_hops
from mycelia.protocol.http.request import BadHandshake, Headers


def hops(way: str, *lines: tuple[str, str]) -> list[tuple[str | None, str | None]]:
    return [(hop.client, hop.proto) for hop in read_hops(Headers(lines), way)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [("192.0.2.60", "http")]),
        ("For=192.0.2.60; Proto=HTTPS", [("192.0.2.60", "https")]),
        ('for="192.0.2.60:47011"', [("192.0.2.60", None)]),
        ('For="[2001:db8:cafe::17]:4711"', [("2001:db8:cafe::17", None)]),
        ('For="[2001:db8:cafe::17]"', [("2001:db8:cafe::17", None)]),
        ("for=192.0.2.43, for=198.51.100.17", [("192.0.2.43", None), ("198.51.100.17", None)]),
        ("for=_hidden, for=unknown", [("_hidden", None), ("unknown", None)]),
        ('for="a\\"b,c;d"', [('a"b,c;d', None)]),
        ("by=203.0.113.43;host=x", [(None, None)]),
        ("proto=https", [(None, "https")]),
        (" , for=192.0.2.43 ,,", [("192.0.2.43", None)]),
        (";;for=192.0.2.43;", [("192.0.2.43", None)]),
        ("", []),
    ],
)
def test_forwarded(line: str, expected: list[tuple[str | None, str | None]]) -> None:
    assert hops("forwarded", ("Forwarded", line)) == expected


def test_several_lines_are_one_list_and_the_other_way_is_not_read() -> None:
    lines = [("Forwarded", "for=192.0.2.1"), ("X-Forwarded-For", "192.0.2.9"), ("forwarded", "for=192.0.2.2")]
    assert hops("forwarded", *lines) == [("192.0.2.1", None), ("192.0.2.2", None)]
    assert hops("x-forwarded", *lines) == [("192.0.2.9", None)]


@pytest.mark.parametrize(
    "line",
    [
        'for="',
        'for=", for=192.0.2.1',
        "for",
        "for=",
        "=x",
        "for=192.0.2.1 x",
        "for=a b",
        "for=[::1]",
        "for=1;for=2",
        "é=1",
    ],
)
def test_what_is_not_well_formed_is_refused(line: str) -> None:
    with pytest.raises(BadHandshake) as caught:
        hops("forwarded", ("Forwarded", line))
    assert caught.value.reply.status == 400


@pytest.mark.parametrize(
    ("clients", "protos", "expected"),
    [
        (["192.0.2.1"], ["https"], [("192.0.2.1", "https")]),
        (["192.0.2.1, 192.0.2.2"], ["HTTPS"], [("192.0.2.1", "https"), ("192.0.2.2", "https")]),
        (["192.0.2.1", "192.0.2.2"], ["https, http"], [("192.0.2.1", "https"), ("192.0.2.2", "http")]),
        (["192.0.2.1"], ["https", "http"], [("192.0.2.1", "http")]),
        (["::1, ::2, ::3"], ["https,http"], [("::1", "https"), ("::2", "https"), ("::3", "http")]),
        ([], ["https, http"], [(None, "http")]),
        (["192.0.2.1:1234, ::1"], [], [("192.0.2.1", None), ("::1", None)]),
        (["[::2]:1234, [::3]", "unknown"], [], [("::2", None), ("::3", None), ("unknown", None)]),
        ([], [], []),
    ],
)  # fmt: skip
def test_x_forwarded(clients: list[str], protos: list[str], expected: list[tuple[str | None, str | None]]) -> None:
    lines = [("X-Forwarded-For", each) for each in clients] + [("X-Forwarded-Proto", each) for each in protos]
    assert hops("x-forwarded", *lines) == expected


@given(
    st.text(st.sampled_from('for=proto;,"\\ \t_:[]1.2é'), max_size=40), st.sampled_from(["forwarded", "x-forwarded"])
)
def test_whatever_comes_is_read_or_refused(line: str, way: str) -> None:
    try:
        found = read_hops(Headers([("Forwarded", line), ("X-Forwarded-For", line), ("X-Forwarded-Proto", line)]), way)
    except BadHandshake:
        assert way == "forwarded"
    else:
        assert all(isinstance(hop, Hop) for hop in found)


@given(st.ip_addresses())
def test_what_the_last_proxy_adds_is_always_last(address: object) -> None:
    node = f'"[{address}]"' if ":" in str(address) else str(address)
    for before in ("for=203.0.113.9", "for=_x;proto=https", ""):
        assert hops("forwarded", ("Forwarded", f"{before}, for={node}"))[-1][0] == str(address)
