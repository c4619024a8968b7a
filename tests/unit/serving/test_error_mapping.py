from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mycelia.errors import (
    ConnectionNotFound,
    Disabled,
    Forbidden,
    HandlerError,
    InvalidBody,
    InvalidMessage,
    InvalidPath,
    MyceliaError,
    NoRoute,
    NoSuchSubsystem,
    Overloaded,
    RequestTimeout,
    Unauthorized,
)
from mycelia.protocol.wire.codes import Code
from mycelia.serving.error_mapping import MESSAGES, error_for, standard_error
from tests.unit.kernel.support import route_to


def chained(error: Exception) -> Exception:
    error.__cause__ = ValueError("secret of the cause")
    return error


# What is raised by a handler, and what its client is told: code, details, retryable.
TOLD: list[tuple[Exception, str, Mapping[str, object] | None, bool]] = [
    (Unauthorized("secret"), "UNAUTHORIZED", None, False),
    (Forbidden("secret"), "FORBIDDEN", None, False),
    (InvalidBody("expected int", "$.a"), "INVALID_BODY", {"problem": "expected int", "at": "$.a"}, False),
    (Overloaded("queue of secret", 5), "OVERLOADED", None, True),
    (Disabled("secret", "setting"), "DISABLED", None, False),
    (ConnectionNotFound("secret"), "CONNECTION_NOT_FOUND", None, False),
    (HandlerError("no credit", code="POOR", details={"need": 5}), "POOR", {"need": 5}, False),
    (HandlerError("busy", code="BUSY", retryable=True), "BUSY", None, True),
    (RequestTimeout("app://slow", 1), "TIMEOUT", None, True),
]
# What becomes HANDLER_ERROR, with an id under which it is logged.
HIDDEN: list[Exception] = [
    ValueError("secret"),
    TimeoutError("secret"),
    MyceliaError("secret"),
    chained(HandlerError("secret")),
    NoRoute("other://secret"),
    NoSuchSubsystem("secret", "secret://x"),
    InvalidMessage("secret"),
    RequestTimeout("other://secret", 1),
]


@pytest.mark.parametrize(("error", "code", "details", "retryable"), TOLD, ids=lambda value: type(value).__name__)
def test_what_a_handler_may_tell_its_client(
    error: Exception, code: str, details: Mapping[str, object] | None, retryable: bool
) -> None:
    route = route_to("app://slow")
    fault = error_for(error, route, "c", "t")
    assert (fault.code, fault.details, fault.retryable) == (code, details, retryable)
    assert "secret" not in fault.message and route.failed == 1


@pytest.mark.parametrize("error", HIDDEN, ids=lambda error: type(error).__name__)
def test_what_a_client_is_not_told_is_logged_under_an_id(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    fault = error_for(error, route_to("app://slow"), "conn-7", "trace-9")
    assert (fault.code, fault.message, fault.retryable) == ("HANDLER_ERROR", MESSAGES[Code.HANDLER_ERROR], False)
    assert list(fault.details) == ["errorId"]
    [record] = caplog.records
    for known in (fault.details["errorId"], "conn-7", "trace-9", "app://slow"):
        assert known in record.getMessage()
    assert record.exc_info is not None and record.exc_info[1] is error


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (NoRoute("app://secret"), "NOT_FOUND", None),
        (NoSuchSubsystem("secret", "secret://x", ["other"]), "NOT_FOUND", None),
        (InvalidPath("app://{id}", "missing field 'id'"), "INVALID_PATH", {"problem": "missing field 'id'"}),
        (Overloaded("concurrent requests", 16), "OVERLOADED", None),
    ],
)
def test_before_a_route_is_found(error: Exception, code: str, details: Any, caplog: pytest.LogCaptureFixture) -> None:
    fault = error_for(error, None, "c", "t")
    assert (fault.code, fault.details) == (code, details) and "secret" not in fault.message
    assert not caplog.records


def test_every_text_is_the_codes_own_and_shows_nothing() -> None:
    for code, text in MESSAGES.items():
        fault = standard_error(Code(code), retryable=True)
        assert (fault.code, fault.message, fault.details, fault.retryable) == (code, text, None, True)
