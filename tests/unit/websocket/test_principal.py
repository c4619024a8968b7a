from __future__ import annotations

from typing import Any

import pytest

from mycelia.websocket.principal import ConnectionPrincipal


@pytest.mark.parametrize(
    ("metadata", "known", "id", "permissions"),
    [
        ({}, False, "", set()),
        ({"room": 1}, False, "", set()),
        ({"userId": "u"}, True, "u", set()),
        ({"user_id": 5}, True, "5", set()),
        ({"user_id": 0}, True, "0", set()),
        ({"userId": None}, True, "", set()),
        ({"userId": None, "user_id": "b"}, True, "b", set()),
        ({"userId": "a", "user_id": "b"}, True, "a", set()),
        ({"permissions": ["r", "w"]}, True, "", {"r", "w"}),
        ({"permissions": {"r"}}, True, "", {"r"}),
        ({"permissions": {"r": True}}, True, "", {"r"}),
        ({"permissions": "user:write"}, True, "", set()),
        ({"permissions": None}, True, "", set()),
        ({"permissions": 7}, True, "", set()),
        ({"permissions": iter(["r"])}, True, "", set()),
    ],
)
def test_it_reads_what_connect_wrote(metadata: dict[str, Any], known: bool, id: str, permissions: set[str]) -> None:
    principal = ConnectionPrincipal(metadata)
    assert principal.id == id
    assert set(principal.permissions) == permissions


def test_rights_that_are_taken_away_are_gone_at_once() -> None:
    metadata: dict[str, Any] = {"userId": "u", "permissions": {"r"}}
    principal = ConnectionPrincipal(metadata)
    metadata["permissions"] = set()
    assert not principal.permissions
    del metadata["permissions"]
    assert "r" not in principal.permissions
