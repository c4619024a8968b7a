"""The endpoints for the official tests of SockJS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mycelia.testing.protocol_servers.servers import protocol_app
from tests.unit.transports.asgi_server import Visit


async def ask(app: Any, path: str, method: str = "GET") -> tuple[int, bytes]:
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [(b"origin", b"test")]}
    visit = Visit({**scope, "scheme": "http", "client": None})
    visit.begin(app)
    await visit.ended()
    return visit.sent[0]["status"], visit.sent[1]["body"]


@pytest.mark.parametrize(
    ("path", "websocket", "cookie"),
    [("/echo", True, False), ("/disabled_websocket_echo", False, False), ("/cookie_needed_echo", True, True)],
)
async def test_endpoints(path: str, websocket: bool, cookie: bool) -> None:
    app = protocol_app("sockjs")
    life = Visit({"type": "lifespan"})
    life.say({"type": "lifespan.startup"})
    life.begin(app)
    await life.told("lifespan.startup.complete")
    told = json.loads((await ask(app, f"{path}/info"))[1])
    assert (told["websocket"], told["cookie_needed"]) == (websocket, cookie)
    assert (await ask(app, "/nowhere"))[0] == 404
    assert await ask(app, "/close/0/s/xhr", "POST") == (200, b"o\n")
    assert await ask(app, "/close/0/s/xhr", "POST") == (200, b'c[3000,"Go away!"]\n')
    life.say({"type": "lifespan.shutdown"})
    await life.ended()
    assert (await ask(app, f"{path}/info"))[0] == 503
