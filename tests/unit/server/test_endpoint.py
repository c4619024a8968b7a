"""What a ServerSubsystem asks of its engine, over all engines, and its run without a network."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mycelia.errors import ConfigError, EngineError
from mycelia.net.certificates import TlsConfig
from mycelia.net.sockets import SocketFile
from mycelia.server.config import Config, ServerConfig
from mycelia.server.endpoint import RunningServer, certificates_of, check_capabilities, check_renewal, engine_options
from mycelia.server.engines.registry import HTTP_ENGINES, http_engines_with, load_http_engine
from mycelia.server.engines.seam import CAPABILITIES, HttpEngineOptions
from tests.integration.test_server import runtime_of_granian
from tests.support.certificates import issue

__all__ = ["runtime_of_granian"]

LISTENING = {"uvicorn", "granian", "hypercorn"}
FLEXIBLE = LISTENING - {"granian"}


def asked(what: str, folder: Path) -> dict[str, Any]:
    if what == "a password":
        return {"tls": TlsConfig(**issue(folder, password="open").config, password="open")}
    others: dict[str, dict[str, Any]] = {
        "a context": {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
        "files": {"tls": TlsConfig(**issue(folder).config)},
        "a path": {"unix_socket": "/run/app.sock"},
        "addresses": {"host": ("192.0.2.1", "192.0.2.2")},
        "a port": {"port": 9000},
    }
    return others[what]


@pytest.mark.parametrize(
    ("what", "key", "problem", "able"),
    [
        ("a context", "tls", "serve an ssl.SSLContext of the application's", FLEXIBLE),
        ("a password", "tls.password", "read a key with a password", FLEXIBLE),
        ("files", "tls", "encrypt", LISTENING),
        ("a path", "unix_socket", "listen in the file system", LISTENING),
        ("addresses", "host", "listen on several addresses", LISTENING),
        ("a port", "port", "listen on a port of its own", LISTENING),
    ],
)
@pytest.mark.parametrize("engine", HTTP_ENGINES)
def test_what_an_engine_cannot_do_is_refused_with_those_that_can(
    engine: str, what: str, key: str, problem: str, able: set[str], tmp_path: Path
) -> None:
    server = ServerConfig(type=engine, **asked(what, tmp_path))
    if engine in able:
        check_capabilities(server)
        return
    with pytest.raises(ConfigError) as caught:
        check_capabilities(server)
    first = "tls" if engine == "asgi" and key.startswith("tls") else key
    assert caught.value.key == f"server.{first}"
    assert f"the server {engine!r} cannot " in str(caught.value) and str(caught.value).endswith("hypercorn can")
    assert engine == "asgi" or problem in str(caught.value)


@pytest.mark.parametrize("engine", HTTP_ENGINES)
def test_the_usual_settings_ask_for_nothing(engine: str) -> None:
    check_capabilities(ServerConfig(type=engine))
    assert certificates_of(ServerConfig(type=engine)) is None
    assert engine_options(Config(), None) == HttpEngineOptions()


def test_who_can_renew() -> None:
    for engine in LISTENING:
        assert load_http_engine(engine).capabilities <= set(CAPABILITIES)
        if engine in FLEXIBLE:
            check_renewal(ServerConfig(type=engine))
    with pytest.raises(ConfigError, match=r"server\.tls: .* renew its certificate .*; uvicorn and hypercorn can"):
        check_renewal(ServerConfig(type="granian"))
    assert http_engines_with("renewal") == ["uvicorn", "hypercorn"] and http_engines_with("flying") == []


@pytest.mark.parametrize("engine", sorted(LISTENING))
async def test_what_cannot_start_leaves_nothing(engine: str, tmp_path: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    path, wrong = str(tmp_path / "app.sock"), HttpEngineOptions(library={"unheard_of": 1})
    with pytest.raises(EngineError, match="unheard_of"):
        await RunningServer.start(ServerConfig(type=engine, unix_socket=path), application, wrong)
    assert os.listdir(tmp_path) == []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await RunningServer.start(
                ServerConfig(type=engine, host="127.0.0.1", port=port), application, HttpEngineOptions()
            )
    with pytest.raises(EngineError, match="unheard_of"):
        await RunningServer.start(ServerConfig(type=engine, host="127.0.0.1", port=port), application, wrong)
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more


@pytest.mark.every_loop
@pytest.mark.parametrize("engine", sorted(LISTENING))
async def test_a_start_that_is_cancelled_leaves_nothing(engine: str, loop_kind: str, tmp_path: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    path = str(tmp_path / "app.sock")
    server, options = ServerConfig(type=engine, unix_socket=path), HttpEngineOptions(close_timeout=1.0)
    for turns in range(1, 12):
        before = asyncio.all_tasks()
        starting = asyncio.create_task(RunningServer.start(server, application, options))
        for _ in range(turns):
            await asyncio.sleep(0)
        if starting.done():
            await starting.result().stop()
            return
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert os.listdir(tmp_path) == [] and asyncio.all_tasks() == before
        again = await RunningServer.start(server, application, options)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 204 " in await reader.readline()
        writer.close()
        await again.stop()


@pytest.mark.parametrize("engine", sorted(LISTENING))
async def test_a_start_that_is_cancelled_twice_leaves_nothing_in_the_end(engine: str, tmp_path: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    server, options = ServerConfig(type=engine, unix_socket=str(tmp_path / "app.sock")), HttpEngineOptions()
    for turns in range(1, 6):
        before = asyncio.all_tasks()
        starting = asyncio.create_task(RunningServer.start(server, application, options))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        async with asyncio.timeout(10.0):
            while left := asyncio.all_tasks() - before:
                await asyncio.wait(left)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_start_that_ends_with_its_loop_leaves_nothing(cancelled: bool, tmp_path: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    async def leave() -> None:
        starting.append(asyncio.create_task(RunningServer.start(server, application, HttpEngineOptions())))
        await asyncio.sleep(0)
        if cancelled:
            starting[0].cancel()
            await asyncio.sleep(0)

    server, starting = ServerConfig(unix_socket=str(tmp_path / "app.sock")), list[asyncio.Task[RunningServer]]()
    asyncio.run(leave())
    assert starting[0].cancelled() and os.listdir(tmp_path) == []


async def test_its_file_is_gone_before_its_socket(tmp_path: Path) -> None:
    found = []

    class Slow:
        name: ClassVar[str] = "slow"
        capabilities: ClassVar[frozenset[str]] = frozenset()
        protocols: ClassVar[tuple[str, ...]] = ()

        async def start(self, *given: Any) -> None: ...

        async def stop(self) -> None:
            found.append(os.listdir(tmp_path))

    with (file := SocketFile(str(tmp_path / "app.sock"), 0o600)).sock:
        await RunningServer(Slow(), [], file).stop()
    assert found == [[]]
