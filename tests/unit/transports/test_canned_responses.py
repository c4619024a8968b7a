"""How engines behind an HTTP server ask the gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mycelia.asgi.scope import NOT_SERVING
from mycelia.protocol.http.request import BadHandshake, Handshake, Headers, HttpReply, UpgradedHandshake
from mycelia.testing.peers import EchoPeer
from mycelia.transports.canned_responses import ask_gate
from mycelia.transports.seam import Accept

ASKED = UpgradedHandshake("GET", "/ws", Headers())


def raising(error: Exception) -> Callable[[Handshake], Accept | HttpReply]:
    def admit(request: Handshake) -> Accept | HttpReply:
        raise error

    return admit


def test_the_gate_answers() -> None:
    accept, page = Accept(EchoPeer()), HttpReply(200, b"page")
    assert ask_gate(lambda request: accept, ASKED) is accept
    assert ask_gate(lambda request: page, ASKED) is page
    assert ask_gate(None, ASKED) is NOT_SERVING


def test_a_plain_request_is_no_handshake() -> None:
    verdict = ask_gate(lambda request: Accept(EchoPeer()), Handshake("GET", "/ws", Headers()))
    assert isinstance(verdict, HttpReply) and verdict.status == 426


def test_a_gate_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    refused = ask_gate(raising(BadHandshake(403, "no")), ASKED)
    assert isinstance(refused, HttpReply) and refused.status == 403 and not caplog.records
    assert ask_gate(raising(RuntimeError("broken")), ASKED) == HttpReply(500, b"internal error\n")
    assert "could not be decided" in caplog.text
