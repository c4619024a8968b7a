"""Programs that some tests need besides Python: in CI a missing one fails them, elsewhere it skips them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["CLIENTS", "NodeClients", "chromium_path", "in_ci", "node_clients"]

CLIENTS = Path(__file__).resolve().parent.parent / "clients"


@dataclass(frozen=True)
class NodeClients:
    """Node and the folder with the scripts that use clients written by others."""

    node: str
    folder: Path = CLIENTS


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


def chromium_path() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    _missing("chromium", "`make browser` installs it on Debian as root")


def node_clients() -> NodeClients:
    node = shutil.which("node")
    if node is None:
        _missing("node", "install Node.js 20 or later with npm")
    for package in ("ws", "socket.io-client", "sockjs-client"):
        if not (CLIENTS / "node_modules" / package).is_dir():
            _missing(f"the npm package {package}", "`make clients` installs it")
    return NodeClients(node)


def _missing(part: str, remedy: str) -> NoReturn:
    text = f"{part} is missing: {remedy}"
    if in_ci():
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
