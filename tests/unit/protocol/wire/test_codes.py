"""Error codes and close codes: the tables, and the payload of a Close frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.wire.codes import (
    CLOSES,
    RETRYABLE,
    Close,
    CloseFault,
    Code,
    close_payload,
    may_receive,
    may_send,
    parse_close,
    reconnects,
)

CODES = [
    "INVALID_JSON",
    "INVALID_MESSAGE",
    "INVALID_PATH",
    "INVALID_BODY",
    "UNSUPPORTED_DATA",
    "NOT_FOUND",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "RATE_LIMITED",
    "TIMEOUT",
    "OVERLOADED",
    "CANCELLED",
    "CONNECTION_NOT_FOUND",
    "DISABLED",
    "HANDLER_ERROR",
    "WEBSOCKET_ERROR",
    "METHOD_NOT_ALLOWED",
    "TOO_LARGE",
]


def test_the_error_codes_are_those_of_the_wire_language() -> None:
    assert [str(code) for code in Code] == CODES
    assert all(code.name == code.value for code in Code)
    assert {"OVERLOADED", "RATE_LIMITED", "TIMEOUT"} == RETRYABLE


def test_the_table_has_every_close_code_and_says_something_about_each() -> None:
    assert list(CLOSES) == list(Close)
    assert all(info.meaning for info in CLOSES.values())
    assert len({info.meaning for info in CLOSES.values()}) == len(CLOSES)


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        *((code, False) for code in (-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)),
        *((code, True) for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4401, 4999)),
    ],
)
def test_codes_on_the_wire(code: int, valid: bool) -> None:
    assert may_receive(code) is valid
    assert may_send(code) is valid


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4500, 4504, 4505, 4510, 4599])
def test_codes_after_which_a_client_comes_back(code: int) -> None:
    assert reconnects(code)


@pytest.mark.parametrize(
    "code",
    [
        *(0, 1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1014, 3000, 4000, 4400),
        *(4401, 4403, 4408, 4409, 4410, 4429, 4499, 4600, 4999),
    ],
)
def test_codes_after_which_a_client_stays_away(code: int) -> None:
    assert not reconnects(code)


@pytest.mark.parametrize("code", [code for code in Close if code >= 4000])
def test_private_codes_say_by_their_range_whether_to_come_back(code: Close) -> None:
    assert CLOSES[code].reconnect is (4500 <= code <= 4599)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("", ""),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("é" * 62, "é" * 61),
        ("x" + "é" * 61, "x" + "é" * 61),
        ("€" * 42, "€" * 41),
        ("x" * 120 + "🌍", "x" * 120),
        ("a\ud800b", "a?b"),
    ],
)
def test_a_reason_is_cut_between_characters(reason: str, kept: str) -> None:
    assert close_payload(1000, reason) == b"\x03\xe8" + kept.encode()


@given(st.sampled_from(sorted(code for code in Close if may_send(code))), st.text())
def test_what_is_written_is_read_again(code: Close, reason: str) -> None:
    payload = close_payload(code, reason)
    assert len(payload) <= 125
    read, text = parse_close(payload)
    assert read == code
    assert reason.startswith(text)


def test_no_status_is_the_empty_payload_in_both_directions() -> None:
    assert close_payload(Close.NO_STATUS, "unsaid") == b""
    assert parse_close(b"") == (1005, "")


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 5000, 70000])
def test_a_code_that_must_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"got {code}"):
        close_payload(code)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"\x03", 1002, "1 byte"),
        (b"\x00\x00", 1002, "close code 0"),
        (b"\x03\xed", 1002, "close code 1005"),
        (b"\x03\xee", 1002, "close code 1006"),
        (b"\x03\xf7bye", 1002, "close code 1015"),
        (b"\xff\xff", 1002, "close code 65535"),
        (b"\x03\xe8\xff", 1007, "not UTF-8"),
        (b"\x03\xe8\xe2\x82", 1007, "not UTF-8"),
        (b"\x03\xe8\xed\xa0\x80", 1007, "not UTF-8"),
    ],
)
def test_a_wrong_close_payload_is_a_fault(payload: bytes, code: int, reason: str) -> None:
    with pytest.raises(CloseFault) as caught:
        parse_close(payload)
    assert caught.value.code == code
    assert reason in caught.value.reason
    assert str(caught.value) == f"{code}: {caught.value.reason}"


def test_any_buffer_can_be_parsed() -> None:
    assert parse_close(bytes(memoryview(b"\x0f\xa0bye"))) == (4000, "bye")
