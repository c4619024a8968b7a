from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

from mycelia.protocol.wire.codec import CODECS
from mycelia.realtime.connection.principal import ConnectionPrincipal, WatchedMetadata
from tests.unit.realtime.support import staged


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


# -- metadata that is watched ------------------------------------------------------------------------------


async def test_it_tells_of_every_writing_that_may_name_somebody_and_of_no_other() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        told: list[Any] = []
        metadata = WatchedMetadata(connection, lambda one: told.append((one, dict(metadata))))

        def tells(write: Callable[[], object]) -> bool:
            told.clear()
            write()
            assert told in ([], [(connection, dict(metadata))]), "once, and after the writing"
            return bool(told)

        assert tells(lambda: metadata.__setitem__("userId", "ada"))
        assert tells(lambda: metadata.__setitem__("user_id", "ada"))
        assert tells(lambda: metadata.update([("userId", "bob")]))
        assert not tells(lambda: metadata.__setitem__("room", 7))
        assert not tells(lambda: metadata.setdefault("room", 8))
        assert not tells(lambda: metadata.pop("room"))
        assert not tells(lambda: metadata.pop("room", None))
        assert tells(lambda: metadata.pop("userId"))
        with pytest.raises(KeyError):
            metadata.pop("userId")
        with pytest.raises(ZeroDivisionError):
            metadata.update((("userId", "eve") if number else (1 // number,)) for number in (1, 0))
        assert told[-1][1]["userId"] == "eve", "what was written before it failed is written"


async def test_it_is_a_mapping_like_any_other_and_its_copies_are_plain() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        metadata = connection.session.metadata
        metadata |= {"userId": "ada", "tags": ["a"]}
        plain = {"userId": "ada", "tags": ["a"]}
        assert metadata == plain and json.loads(json.dumps(metadata)) == plain
        for codec in CODECS.values():
            assert codec.decode_value(codec.encode_value({"data": metadata})) == {"data": plain}
        for copied in (metadata.copy(), copy.copy(metadata), copy.deepcopy(metadata), metadata | {}):
            assert type(copied) is dict and copied == plain


async def test_it_keeps_nobody_alive() -> None:
    async with staged() as stage:
        connection, _ = stage.open()
        connection.session.metadata["userId"] = "ada"
        metadata, gone = connection.session.metadata, ref(connection)
        connection.closed(1006, "")
        gc.disable()  # it is to need no collector
        try:
            del connection
            assert gone() is None
            metadata["userId"] = "bob"
        finally:
            gc.enable()
        assert stage.core.registry.by_principal["bob"] == 0
