"""How the transports of SockJS carry frames."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.sockjs.frames import message_frame, quote
from mycelia.protocol.sockjs.response_formats import CALLBACKS, RECEIVING, SENDING, style_of

FRAME = b'a["x"]'


@pytest.mark.parametrize(
    ("transport", "streaming", "wrapped"),
    [
        ("xhr", False, b'a["x"]\n'),
        ("xhr_streaming", True, b'a["x"]\n'),
        ("eventsource", True, b'data: a["x"]\r\n\r\n'),
        ("htmlfile", True, b'<script>\np("a[\\"x\\"]");\n</script>\r\n'),
        ("jsonp", False, b'/**/cb("a[\\"x\\"]");\r\n'),
    ],
)
def test_styles(transport: str, streaming: bool, wrapped: bytes) -> None:
    style = style_of(transport, "cb")
    assert (style.streaming, style.wrap(FRAME)) == (streaming, wrapped)
    assert bool(style.prelude) is streaming


def test_preludes_are_as_long_as_browsers_want_them() -> None:
    assert style_of("xhr_streaming").prelude == b"h" * 2048 + b"\n"
    assert style_of("eventsource").prelude == b"\r\n"
    page = style_of("htmlfile", "_jp.a").prelude
    assert len(page) > 1024 and b"var c = parent._jp.a;" in page


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_message_leaves_its_script(text: str) -> None:
    frame = message_frame([quote(text)])
    wrapped = style_of("htmlfile", "cb").wrap(frame)
    inside = wrapped.removeprefix(b"<script>\np(").removesuffix(b");\n</script>\r\n")
    assert b"<" not in inside
    assert json.loads(json.loads(inside)[1:]) == [text]


def test_the_tables_agree() -> None:
    assert set(RECEIVING) > CALLBACKS
    assert not SENDING & set(RECEIVING)
    assert set(RECEIVING.values()) == {"GET", "POST"}
