from __future__ import annotations

import logging

import pytest

from mycelia.serving.exposure_report import log_exposure

logger = logging.getLogger("mycelia.server")


def test_it_lists_all_routes_and_warns_of_unprotected_ones(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mycelia.server")
    log_exposure(logger, "HTTP clients", ["GET /a", "POST /b"], ["POST /b"], "authenticated=True or requires=…")
    log_exposure(logger, "clients", [], [], "authenticated=True or requires=…")
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("INFO", "HTTP clients can call: GET /a, POST /b"),
        (
            "WARNING",
            "Unauthenticated clients can call these state-changing routes: POST /b. Protect them with "
            "authenticated=True or requires=…, or mark read-only targets with safe=True to silence this warning.",
        ),
        ("INFO", "clients can call: nothing"),
    ]
