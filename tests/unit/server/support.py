"""A ServerSubsystem that listens nowhere, and a client that calls it as an ASGI server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from mycelia import BaseSubsystem, MessageSystem
from mycelia.server import ServerFacet, ServerSubsystem

__all__ = ["Answer", "Call", "Stage", "serving"]

PATIENCE = 5.0


class Answer:
    """What came back."""

    def __init__(self, sent: list[Mapping[str, Any]]) -> None:
        start, *bodies = sent
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert len(self.headers) == len(start["headers"]), "a header twice"
        assert [each["more_body"] for each in bodies] == [True] * (len(bodies) - 1) + [False]
        self.body = b"".join(each["body"] for each in bodies)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.json["success"] is True, self.json
        return self.json["data"]

    @property
    def code(self) -> str:
        assert self.json["success"] is False, self.json
        return str(self.json["error"]["code"])


class Call:
    """One request on its way; `say` is what the server tells the application after the body."""

    def __init__(self, application: Any, method: str, target: str, body: Any, headers: Mapping[str, str]) -> None:
        path, _, query = target.partition("?")
        given = dict(headers)
        if body is not None and not isinstance(body, (bytes, list)):
            body = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        parts = body if isinstance(body, list) else [body or b""]
        self.events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        for at, part in enumerate(parts):
            self.say({"type": "http.request", "body": part, "more_body": at < len(parts) - 1})
        self.sent: list[Mapping[str, Any]] = []
        self.stalls_after: int | None = None  # events, after which nothing is taken any more
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"here.example"), *((n.lower().encode(), v.encode()) for n, v in given.items())],
            "client": ("192.0.2.7", 4000),
            "scheme": "http",
        }
        self.task = asyncio.create_task(application(scope, self.events.get, self._send))

    def say(self, event: Mapping[str, Any]) -> None:
        self.events.put_nowait(event)

    async def _send(self, event: Mapping[str, Any]) -> None:
        if self.stalls_after is not None and len(self.sent) >= self.stalls_after:
            await asyncio.Event().wait()
        self.sent.append(event)

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task

    async def answer(self) -> Answer:
        await self.ended()
        return Answer(self.sent)


class Stage:
    """The system under test."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        server = {"type": "asgi", **config.get("server", {})}
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.http = ServerSubsystem("server", ms=self.system, config={**config, "server": server})

    @property
    def facet(self) -> ServerFacet:
        return self.http.server

    def route(self, spec: str, handler: Callable[..., Any], target: str = "", **settings: Any) -> None:
        """`route("GET /users/{id}", handler)`: a private Mycelia route and the HTTP route to it."""
        method, _, path = spec.partition(" ")
        target = target or f"app:/{path if path != '/' else '/root'}"
        ours = {key: settings.pop(key) for key in ("status", "statuses", "authenticated") if key in settings}
        self.app.register_route(target, handler, **settings)
        self.http.register_mycelia_route(method, path, target, **ours)

    def call(self, spec: str, body: Any = None, **headers: str) -> Call:
        method, _, target = spec.partition(" ")
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        return Call(self.http.asgi, method, target, body, spelled)

    async def ask(self, spec: str, body: Any = None, **headers: str) -> Answer:
        return await self.call(spec, body, **headers).answer()


@asynccontextmanager
async def serving(setup: Callable[[Stage], object] | None = None, **config: Any) -> AsyncIterator[Stage]:
    """A stage that is up; `setup` registers what it needs before that."""
    stage = Stage(config)
    if setup is not None:
        setup(stage)
    async with stage.system:
        yield stage
