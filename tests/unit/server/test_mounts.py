from __future__ import annotations

from typing import Any

import pytest

from mycelia import RouteError
from mycelia.server.mounts import Mounts


async def application(scope: Any, receive: Any, send: Any) -> None: ...


async def other(scope: Any, receive: Any, send: Any) -> None: ...


def test_the_longest_prefix_wins_and_becomes_part_of_the_root_path() -> None:
    mounts = Mounts()
    assert mounts.find({"path": "/admin"}) is None
    mounts.add("/admin", application)
    mounts.add("/admin/größe", other)
    for path, found, root in (
        ("/admin", application, "/admin"),
        ("/admin/users", application, "/admin"),
        ("/admin/größe/x", other, "/admin/größe"),
    ):
        assert mounts.find({"path": path}) == (found, {"path": path, "root_path": root})
    inner = {"path": "/api/admin/x", "root_path": "/api"}
    assert mounts.find(inner) == (application, {**inner, "root_path": "/api/admin"})
    for path in ("/", "/administrator", "/Admin"):
        assert mounts.find({"path": path}) is None


@pytest.mark.parametrize("prefix", ["admin", "/admin/", "/a?b", "/a%20b", "/a\\b", "", None])
def test_an_invalid_prefix_is_an_error(prefix: Any) -> None:
    with pytest.raises(RouteError, match="expected a prefix"):
        Mounts().add(prefix, application)


def test_a_prefix_is_taken_once() -> None:
    mounts = Mounts()
    mounts.add("/admin", application)
    with pytest.raises(RouteError, match="already mounted"):
        mounts.add("/admin", other)
