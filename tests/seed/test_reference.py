"""The reference pages say what the code says: codes, configuration keys, facet methods, route settings."""

from __future__ import annotations

import asyncio
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from mycelia import BaseSubsystem, MessageSystem, server
from mycelia.kernel.mailbox import QueueConfig
from mycelia.kernel.routing.router import RouteSettings
from mycelia.net.certificates import TlsConfig
from mycelia.observability.error_log import ErrorsConfig
from mycelia.protocol.wire.codes import CLOSES, RETRYABLE, Code, status_of
from mycelia.protocol.ws.deflate import DeflateSettings
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.config.sections import AuthenticationConfig, DrainConfig, OverloadConfig
from mycelia.server.router import HttpSettings
from mycelia.serving.listening_facet import ListeningFacet
from mycelia.transports.sockjs.options import SockjsOptions
from mycelia.websocket import (
    ConnectionConfig,
    RoutingConfig,
    ServerConfig,
    WebSocketConnection,
    WebSocketContract,
    WebSocketFacet,
)

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    _, mark, rest = (REFERENCE / page).read_text().partition(f"\n## {heading}")
    assert mark, f"{page} has no heading {heading!r}"
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_error_codes() -> None:
    rows = [tuple(row[:3]) for row in table("codes.md", "Error codes")]
    assert rows == [(f"`{code.value}`", "yes" if code in RETRYABLE else "no", str(status_of(code))) for code in Code]


def test_close_codes() -> None:
    rows = [tuple(row) for row in table("codes.md", "Close codes")]
    assert rows == [
        (str(int(code)), f"`{code.name}`", "yes" if info.reconnect else "no", info.meaning)
        for code, info in CLOSES.items()
    ]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("`websocket`", ServerConfig),
        ("`websocket.tls`", TlsConfig),
        ("`websocket.per_message_deflate`", DeflateSettings),
        ("`websocket.options` of `sockjs`", SockjsOptions),
        ("`connection`", ConnectionConfig),
        ("`routing`", RoutingConfig),
        ("`authentication`", AuthenticationConfig),
        ("`limits`", LimitsConfig),
        ("`overload`", OverloadConfig),
        ("`drain`", DrainConfig),
        ("`errors`", ErrorsConfig),
    ],
)
def test_configuration_keys_spellings_units_and_defaults(heading: str, kind: Any) -> None:
    check_keys("configuration.md", heading, kind)


def check_keys(page: str, heading: str, kind: Any) -> None:
    rows = table(page, heading)
    declared = fields(kind)
    assert [row[0] for row in rows] == [f"`{each.name}`" for each in declared]
    for (_, camel, unit, default, _), each in zip(rows, declared, strict=True):
        head, *rest = each.name.split("_")
        assert camel == "`" + head + "".join(part.capitalize() for part in rest) + "`"
        assert (unit == "s / ms") is (each.metadata.get("unit") == "milliseconds"), each.name
        make = each.default_factory
        value = each.default if make is MISSING else make()
        assert default == ("a UUIDv4" if each.name == "generate_connection_id" else f"`{value!r}`")


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("`server`", server.ServerConfig),
        ("`limits`", server.HttpLimits),
        ("`health`", server.HealthConfig),
        ("`authentication`", server.AuthenticationConfig),
    ],
)
def test_configuration_of_the_server(heading: str, kind: Any) -> None:
    check_keys("server.md", heading, kind)


def test_queue_settings() -> None:
    rows = [(row[0], row[1]) for row in table("configuration.md", "Of any subsystem")]
    assert rows == [(f"`{each.name}`", f"`{each.default!r}`") for each in fields(QueueConfig)]


def names(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`(?:await )?(\w+)", cell)}


def test_every_method_of_the_facet_is_listed_and_exists() -> None:
    listed = names([row[0] for row in table("websocket-facet.md", "The facet")])
    inherited = {"init", "dispose"}
    offered = {name for name in vars(WebSocketFacet) if not name.startswith("_")} - inherited
    assert listed == offered
    assert {name for name in vars(WebSocketContract) if not name.startswith("_")} <= listed


def test_every_method_of_the_server_facet_is_listed_and_exists() -> None:
    listed = names([row[0] for row in table("server.md", "The facet")])
    members = {**vars(server.ServerFacet), **vars(ListeningFacet)}
    offered = {name for name in members if not name.startswith("_")} - {"init", "dispose"}
    assert listed == offered
    assert {name for name in vars(server.ServerContract) if not name.startswith("_")} <= listed
    settings = table("server.md", "Routes")
    assert {row[0].strip("`") for row in settings} == set(HttpSettings.__annotations__)


def test_the_message_paths_of_the_server() -> None:
    listed = {row[0].strip("`") for row in table("server.md", "Message paths")}
    subsystem = server.ServerSubsystem(ms=MessageSystem("main"))
    asyncio.run(subsystem.build())
    assert listed == {route.path for route in subsystem.routes}


def test_the_members_of_the_connection_exist() -> None:
    listed = names([row[0] for row in table("websocket-facet.md", "The connection")])
    assert {name for name in listed if not hasattr(WebSocketConnection, name)} == set()


def test_the_members_of_the_kernel_exist() -> None:
    for heading, kind in (("MessageSystem", MessageSystem("main")), ("BaseSubsystem", BaseSubsystem("x"))):
        text = (REFERENCE / "kernel.md").read_text().partition(f"\n## {heading}")[2].partition("\n\nSettings")[0]
        section = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
        cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
        assert {name for name in names(cells) - {"async"} if not hasattr(kind, name)} == set()


def test_route_settings() -> None:
    text = (REFERENCE / "kernel.md").read_text().partition("Settings of a route:")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == set(RouteSettings.__annotations__)


def test_every_module_is_on_the_map() -> None:
    text = (REFERENCE.parents[1] / "ARCHITECTURE.md").read_text()
    source = REFERENCE.parents[1] / "src" / "mycelia"
    missing = []
    for module in source.glob("*/**/*.py"):
        package = module.parent.relative_to(source).as_posix()
        if (
            module.stem.startswith("_")
            or package.split("/")[0] in ("_deprecated", "demo", "testing")
            or package == "kernel/hooks"
        ):
            continue
        section = text.partition(f"# {package}/\n")[2].partition("\n#")[0]
        if f"`{module.stem}`" not in section:
            missing.append(f"{package}/{module.stem}")
    assert missing == []
