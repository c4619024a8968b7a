"""The engine suite over every engine of ours, on both event loops, and under the servers of others."""

from __future__ import annotations

import pytest

from mycelia.testing.engines import EngineCheck, engine_checks
from mycelia.transports.asgi.engine import AsgiEngine
from mycelia.transports.engine_registry import load_engine
from mycelia.transports.memory.engine import MemoryEngine
from tests.integration.asgi_servers import ASGI_SERVERS, HttpParser
from tests.integration.socketio_server import PlainSocketio, SocketioServer
from tests.integration.sockjs_server import PathSockjs, SockjsServer

ENGINES = ["picows", "websockets"]
each_parser = pytest.mark.parametrize("http", ["h11", "httptools"])  # of uvicorn
MARKS = {
    "uvicorn-websockets": pytest.mark.filterwarnings("ignore"),  # it is deprecated, and what it builds on
    "granian": pytest.mark.leaks("embedded it never closes the socket that it listens on"),
}
UNDER = [
    pytest.param(check, name, id=f"{name}-{check}", marks=MARKS.get(name, ()))
    for name, place in ASGI_SERVERS.items()
    for check in engine_checks(AsgiEngine.capabilities | place().capabilities)
]


@pytest.mark.every_loop
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("check", engine_checks(), ids=str)
async def test_engine(check: EngineCheck, engine: str) -> None:
    await check(load_engine(engine))


@pytest.mark.every_loop
@pytest.mark.parametrize("check", engine_checks(MemoryEngine.capabilities), ids=str)
async def test_the_memory_engine(check: EngineCheck) -> None:
    await check(MemoryEngine)


@pytest.mark.parametrize(("check", "server"), UNDER)
async def test_the_asgi_engine(check: EngineCheck, server: str) -> None:
    await check(AsgiEngine, ASGI_SERVERS[server]())


@pytest.mark.parametrize("check", engine_checks(PlainSocketio.capabilities | SocketioServer.capabilities), ids=str)
@each_parser
async def test_the_socketio_engine(check: EngineCheck, http: HttpParser) -> None:
    await check(PlainSocketio, SocketioServer(http))


@pytest.mark.parametrize("check", engine_checks(PathSockjs.capabilities | SockjsServer.capabilities), ids=str)
@each_parser
async def test_the_sockjs_engine(check: EngineCheck, http: HttpParser) -> None:
    await check(PathSockjs, SockjsServer(http))
