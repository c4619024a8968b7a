from __future__ import annotations

import dataclasses

import pytest

from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT

CLIENT = Caller("client", "c1")


def test_caller_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLIENT.name = "c2"  # type: ignore[misc]  # the point of the test


def test_options_read_like_attributes_and_like_a_mapping() -> None:
    connection = object()
    options = Options(caller=CLIENT, connection=connection, connection_id="c1")
    assert options.connection is options["connection"] is options.get("connection") is connection
    assert options.connection_id == options.connectionId == options["connection_id"] == options["connectionId"]
    assert options.get("connectionId") == "c1"
    assert options.origin is options.caller is options["caller"]
    assert "connectionId" in options and "principal" in options and "x" not in options


def test_options_without_a_value() -> None:
    options = Options(caller=CLIENT)
    assert options.get("principal") is None
    assert options.get("connectionId", "none") == "none"
    assert options.get("x", 5) == 5
    with pytest.raises(KeyError):
        options["x"]


def test_nothing_is_current_outside_a_handler() -> None:
    assert CURRENT.get() is None
