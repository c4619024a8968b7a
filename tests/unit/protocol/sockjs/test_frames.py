"""Frames of SockJS, and what clients send."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.sockjs.frames import (
    MESSAGES_LIMIT,
    PayloadFault,
    Quoter,
    closing_frame,
    is_callback,
    message_frame,
    quote,
    read_frame,
    read_payload,
    script,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MANGLED = re.compile("[\x00-\x1f\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]")


@given(TEXTS)
def test_a_quoted_text_is_json_without_what_browsers_change(text: str) -> None:
    quoted = quote(text).decode()
    assert json.loads(quoted) == text
    assert MANGLED.search(quoted) is None


@pytest.mark.parametrize("number", [0, 0x1F, 0x200C, 0x200F, 0x2028, 0x202F, 0x2060, 0x206F, 0xFFF0, 0xFFFF])
def test_the_ends_of_the_ranges(number: int) -> None:
    assert json.loads(quote(chr(number))) == chr(number)
    assert quote(chr(number)).startswith(b'"\\')


@given(TEXTS)
def test_a_script_says_the_frame_and_ends_no_tag(text: str) -> None:
    frame = message_frame([quote(text)])
    said = script(frame)
    assert b"<" not in said
    assert json.loads(json.loads(said)[1:]) == [text]


def test_frames() -> None:
    assert message_frame([b'"a"', b'"b"']) == b'a["a","b"]'
    assert closing_frame(3000, 'Go "away"!') == b'c[3000,"Go \\"away\\"!"]'


def test_a_quoter_quotes_once_what_is_sent_to_many() -> None:
    quoter, payload = Quoter(), "ä".encode()
    first = quoter(payload, False)
    assert first == '"ä"'.encode()
    assert quoter(payload, False) is first
    assert quoter(b"\x00\xff", True) == b'"AP8="'
    assert quoter(b"b", False) == b'"b"'
    assert quoter(b"", False) == b'""'


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("_jp.a1B2", True), ("callback", True), ("a" * 128, True), ("a" * 129, False), ("", False), ("a-b", False),
        ("a b", False), ("alert(1)", False), ("a\n", False), ("a\n.b", False), ("ä", False), ("a<b", False),
    ],
)  # fmt: skip
def test_callbacks(name: str, right: bool) -> None:
    assert is_callback(name) is right


@given(st.lists(TEXTS, max_size=5))
def test_payloads_are_read_as_they_were_meant(texts: list[str]) -> None:
    body = json.dumps(texts).encode()
    assert read_payload(body) == read_frame(body) == [text.encode() for text in texts]


@pytest.mark.parametrize(("text", "messages"), [(b"", []), (b"[]", []), (b'"a"', [b"a"]), (b' [ "a" ] ', [b"a"])])
def test_frames_from_clients(text: bytes, messages: list[bytes]) -> None:
    assert read_frame(text) == messages


MANY = json.dumps([""] * (MESSAGES_LIMIT + 1)).encode()


@pytest.mark.parametrize(
    ("body", "text", "status"),
    [
        (b"", "Payload expected.", 500),
        (b'"a"', "Payload expected.", 500),
        (b"[1]", "Payload expected.", 500),
        (b'["a', "Broken JSON encoding.", 500),
        (b'["\\ud800"]', "Broken JSON encoding.", 500),
        (b'["\xff"]', "Broken JSON encoding.", 500),
        (MANY, f"Too many messages: at most {MESSAGES_LIMIT}.", 413),
    ],
)
def test_bodies_that_are_no_payload(body: bytes, text: str, status: int) -> None:
    with pytest.raises(PayloadFault) as caught:
        read_payload(body)
    assert (caught.value.text, caught.value.status) == (text, status)


@pytest.mark.parametrize(("text", "code"), [(b"{}", 1007), (b"[[]]", 1007), (b'["', 1007), (MANY, 1009)])
def test_frames_that_are_none(text: bytes, code: int) -> None:
    with pytest.raises(PayloadFault) as caught:
        read_frame(text)
    assert caught.value.close_code == code


@given(st.binary(max_size=40))
def test_nothing_but_faults_is_raised(body: bytes) -> None:
    for read in (read_payload, read_frame):
        found: Any = None
        try:
            found = read(body)
        except PayloadFault:
            continue
        assert all(type(each) is bytes for each in found)
