"""Old module paths and old public names work for one release, and warn."""

from __future__ import annotations

import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import mycelia
from mycelia._deprecated.modules import MODULES, PACKAGES
from mycelia._deprecated.names import NAMES

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent

# What each module exported before the modules were moved.
EXPORTS: dict[str, list[str]] = json.loads((HERE / "exports_before_move.json").read_text())

# Names of internal modules that have no successor.
REMOVED = {
    "mycelia.auth.identity": {"identity_by"},
    "mycelia.server.config": {"HOST", "PORT"},
    "mycelia.server.endpoint": {"Listening", "check_abilities"},
    "mycelia.server.engines.granian": {"Engine"},
    "mycelia.server.engines.hypercorn": {"Engine"},
    "mycelia.server.engines.uvicorn": {"Engine"},
    "mycelia.server.router": {"NoMethod", "SAFE", "check_prefix"},
    "mycelia.protocol.engineio_upgrade": {"Step"},
    "mycelia.protocol.socketio_codec": {"rejoin"},
    "mycelia.websocket.engines.base": {"Gate", "check_event", "check_start"},  # `BaseEngine` has the checks
    "mycelia.websocket.engines.verdict": {"Judge"},
    "mycelia.websocket.execution": {"run"},
    "mycelia.websocket.inbound": {"silent", "timeout_of"},
    "mycelia.websocket.runtime": {"Runtime"},
    "mycelia.websocket.throttle": {"OwnLimiter", "Refused"},
    "mycelia.websocket.worker": {"Raw"},
}


@pytest.fixture(autouse=True)
def _without_aliases() -> Iterator[None]:
    """Remove the modules that a test imported by old paths, so that the next import warns again."""
    yield
    for name in [name for name in sys.modules if (name in MODULES or name in PACKAGES) and _is_alias(name)]:
        module = sys.modules.pop(name)
        parent, _, attribute = name.rpartition(".")
        if vars(sys.modules.get(parent, module)).get(attribute) is module:
            delattr(sys.modules[parent], attribute)


def _is_alias(name: str) -> bool:
    spec = sys.modules[name].__spec__
    return spec is not None and spec.origin is None and type(spec.loader).__name__ == "_AliasFinder"


def moved_modules() -> list[str]:
    """Return the old paths that no module has today."""
    return sorted(name for name in MODULES if importlib.util.find_spec(name).origin is None)  # type: ignore[union-attr]


@pytest.mark.parametrize("old", moved_modules())
def test_an_old_path_imports_with_a_warning_that_names_the_new_one(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=re.escape(f"import {MODULES[old]}")) as caught:
        module = importlib.import_module(old)
    assert module is sys.modules[old]
    assert importlib.import_module(old) is module
    assert f"{old} has moved" in str(caught[-1].message)


@pytest.mark.parametrize("old", sorted(EXPORTS))
def test_every_old_export_is_the_new_object(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(old)
    assert EXPORTS[old] or old not in MODULES
    for name in EXPORTS[old]:
        if name in REMOVED.get(old, ()):
            assert not hasattr(module, name)
        elif name in vars(module):
            getattr(module, name)  # the name is not an old one
        else:
            place, _, new = NAMES.get(f"{old}:{name}", f"{MODULES.get(old)}:{name}").partition(":")
            with pytest.warns(DeprecationWarning, match=re.escape(f"import {new} from {place}")):
                value = getattr(module, name)
            assert value is getattr(importlib.import_module(place), new)


@pytest.mark.parametrize(
    ("old", "name", "new", "new_name"),
    [
        ("mycelia.kernel.rate", "Rate", "mycelia", "Rate"),
        ("mycelia.kernel.message", "Message", "mycelia", "Message"),
        ("mycelia.kernel.caller", "Principal", "mycelia", "Principal"),
        ("mycelia.kernel.hook", "Hook", "mycelia", "Hook"),
        ("mycelia.protocol.codes", "Close", "mycelia.protocol.wire.codes", "Close"),
        ("mycelia.protocol.handshake", "HttpReply", "mycelia.protocol.http.request", "HttpReply"),
        ("mycelia.protocol.engineio", "Packet", "mycelia.protocol.engineio.packets", "Packet"),
        ("mycelia.server.request", "HttpRequest", "mycelia.server", "HttpRequest"),
        ("mycelia.websocket", "Phase", "mycelia.websocket", "ConnectionState"),
        ("mycelia.websocket", "Verdict", "mycelia.websocket", "SendResult"),
        ("mycelia.websocket.connection", "WebSocketConnection", "mycelia.websocket", "WebSocketConnection"),
        ("mycelia.websocket.engines.base", "Transport", "mycelia.transports.seam", "Transport"),
        ("mycelia.websocket.engines.base", "EngineOptions", "mycelia.transports.engine_options", "EngineOptions"),
        ("mycelia.websocket.engines.memory", "MemoryEngine", "mycelia.transports.memory.engine", "MemoryEngine"),
        ("mycelia.websocket.outbox", "Overflow", "mycelia.websocket", "Overflow"),
        ("mycelia.websocket.requirement", "AuthenticationConfig", "mycelia.websocket", "AuthenticationConfig"),
    ],
)
def test_names_that_users_import_most(old: str, name: str, new: str, new_name: str) -> None:
    with pytest.warns(DeprecationWarning):
        value = getattr(importlib.import_module(old), name)
    assert value is getattr(importlib.import_module(new), new_name)


def test_the_warnings_point_at_the_line_that_imports() -> None:
    with pytest.warns(DeprecationWarning) as caught:
        from mycelia.kernel.rate import Rate  # type: ignore[import-not-found] # noqa: F401
    assert [warning.filename for warning in caught] == [__file__, __file__]

    with pytest.warns(DeprecationWarning) as caught:
        import mycelia.websocket.engines.base  # type: ignore[import-not-found] # noqa: F401
    assert {warning.filename for warning in caught} == {__file__}

    with pytest.warns(DeprecationWarning) as caught:
        from mycelia.websocket import Verdict  # type: ignore[attr-defined] # noqa: F401
    assert {warning.filename for warning in caught} == {__file__}


def test_a_second_import_of_a_name_warns_again() -> None:
    with pytest.warns(DeprecationWarning):
        from mycelia.kernel.rate import Rate
    with pytest.warns(DeprecationWarning, match="import Rate from mycelia.scheduling.rate_limiter"):
        from mycelia.kernel.rate import Rate  # noqa: F401


def test_a_star_import_of_an_old_module_brings_the_names_of_the_new_one() -> None:
    names: dict[str, object] = {}
    with pytest.warns(DeprecationWarning):
        exec("from mycelia.kernel.rate import *", names)  # a star import is not allowed inside a function
    assert names["RateLimiter"] is mycelia.RateLimiter


def test_names_and_modules_that_never_existed_are_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match=re.escape("mycelia.websocket.engines.nothing")):
        importlib.import_module("mycelia.websocket.engines.nothing")
    with pytest.raises(AttributeError, match=re.escape("module 'mycelia.websocket' has no attribute 'Nothing'")):
        _ = mycelia.websocket.Nothing  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning):
        module = importlib.import_module("mycelia.kernel.rate")
    with pytest.raises(AttributeError, match=re.escape("module 'mycelia.scheduling.rate_limiter' has no attribute")):
        _ = module.Nothing
    assert not hasattr(module, "__wrapped__")  # asked by tools of every module: no warning


def test_a_second_installation_changes_nothing() -> None:
    before = list(sys.meta_path)
    mycelia.install_aliases()  # type: ignore[attr-defined]
    assert sys.meta_path == before


# -- nothing of ours uses an old path ------------------------------------------------------------------

_TEXTS = [
    path
    for folder in ("src", "docs", "examples", "benchmarks", "fuzz", "soak", "tools", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".toml", ".txt", ".html") and "_deprecated" not in path.parts
] + [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "pyproject.toml", ROOT / "Makefile"]


def test_nothing_of_ours_names_an_old_module() -> None:
    pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, moved_modules())) + r")(?!\w)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in _TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in pattern.finditer(line)
    ]
    assert found == []
