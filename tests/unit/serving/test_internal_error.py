from __future__ import annotations

import logging

import pytest

from mycelia.auth import Credential
from mycelia.observability.error_log import RECORDING, ErrorLog, ErrorsConfig
from mycelia.serving.internal_error import authenticator_error, internal_error


def test_no_two_internal_errors_share_an_id() -> None:
    ids = {internal_error("it failed", "c", ValueError()).details["errorId"] for _ in range(20)}
    assert len(ids) == 20


def test_the_client_the_log_and_the_record_have_one_id(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog(ErrorsConfig(), "server")
    token = RECORDING.set(errors)
    try:
        found = internal_error("it failed", "c-1", ValueError("secret"), trace_id="t-1", path="app://x")
    finally:
        RECORDING.reset(token)
    [record] = errors.report()["errors"]
    [line] = caplog.records
    assert found.details == {"errorId": record["id"]} and record["id"] in line.getMessage()
    assert (line.name, record["path"], record["connectionId"], record["traceId"]) == (
        "mycelia.server", "app://x", "c-1", "t-1",
    )  # fmt: skip
    assert "secret" not in str((found, record))


def test_the_log_of_an_authenticator_failure_has_no_credential(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog(ErrorsConfig(), "server")
    credential = Credential("s3cret-token", "authorization")
    with caplog.at_level(logging.ERROR, "mycelia.server"):
        error_id = authenticator_error(ValueError("no row for s3cret-token"), credential, errors, connection_id="c-1")
    assert errors.report()["errors"][0]["id"] == error_id
    assert error_id in caplog.text and "c-1" in caplog.text and "no row for ***" in caplog.text
    assert "s3cret-token" not in caplog.text
