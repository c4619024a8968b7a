"""How to start each server that takes part, and what to call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.toolchain import HERE, Tools

__all__ = ["SERVERS", "Server", "capacity"]

_PEERS = HERE / "peers"
_MYCELIA = HERE / "servers" / "mycelia_server.py"
_CONTEXT = '{"serverContext": true, "clientContext": true}'
_DEFAULT_CONNECTIONS = 256  # of one address, from which all the load comes, unless the server is told otherwise


@dataclass(frozen=True, slots=True)
class Server:
    """`command(tools, port, mode, connections)`; None where a program for it is missing."""

    title: str
    command: Callable[[Tools, int, str, int], list[str] | None]


def _mycelia(engine: str, *protect: str) -> Callable[[Tools, int, str, int], list[str]]:
    def command(tools: Tools, port: int, mode: str, connections: int) -> list[str]:
        raised = capacity(connections)
        extra = [] if raised is None else ["--max-connections", str(raised)]
        return [str(tools.python), str(_MYCELIA), "--engine", engine, "--port", str(port), *extra, *protect]

    return command


def capacity(connections: int) -> int | None:
    """The raised `maxConnections` (in all and of one address), or None where the default is enough."""
    return None if connections < _DEFAULT_CONNECTIONS else connections + 100


def _limit(tools: Tools, port: int, mode: str, connections: int) -> list[str]:
    return [str(tools.limit), str(port), mode]


def _ws(tools: Tools, port: int, mode: str, connections: int) -> list[str] | None:
    if tools.node is None or "ws" in tools.missing:
        return None
    return [str(tools.node), str(_PEERS / "ws.js"), str(port), mode]


def _bun(tools: Tools, port: int, mode: str, connections: int) -> list[str] | None:
    if tools.bun is None:
        return None
    return [str(tools.bun), str(_PEERS / "bun.js"), str(port), mode]


def _script(
    name: str, own_environment: bool = False, extra: str = ""
) -> Callable[[Tools, int, str, int], list[str] | None]:
    def command(tools: Tools, port: int, mode: str, connections: int) -> list[str] | None:
        python = tools.peers_python if own_environment else tools.python
        return None if python is None else [str(python), str(_PEERS / name), str(port), mode, *extra.split()]

    return command


SERVERS: dict[str, Server] = {
    "mycelia": Server("Mycelia (picows)", _mycelia("picows")),
    "mycelia-websockets": Server("Mycelia (websockets)", _mycelia("websockets")),
    "mycelia-deflate": Server("Mycelia, compressed", _mycelia("picows", "--deflate", "true")),
    "mycelia-deflate-context": Server("Mycelia, contexts kept", _mycelia("picows", "--deflate", _CONTEXT)),
    "mycelia-websockets-deflate": Server(
        "Mycelia (websockets), compressed", _mycelia("websockets", "--deflate", "true")
    ),
    "mycelia-socketio": Server("Mycelia (socketio, uvicorn)", _mycelia("socketio")),
    "mycelia-rate": Server("Mycelia, a rate limit on", _mycelia("picows", "--protect", "rate")),
    "mycelia-rates": Server("Mycelia, three rate limits on", _mycelia("picows", "--protect", "rates")),
    "mycelia-timeout": Server("Mycelia, handler timeout on", _mycelia("picows", "--protect", "timeout")),
    "mycelia-policy": Server("Mycelia, a policy on", _mycelia("picows", "--protect", "policy")),
    "mycelia-policy-cached": Server("Mycelia, a cached policy on", _mycelia("picows", "--protect", "policy-cached")),
    "limit": Server("C limit", _limit),
    "bun": Server("bun", _bun),
    "ws": Server("npm ws", _ws),
    "picows": Server("bare picows", _script("picows_server.py")),
    "websockets": Server("websockets", _script("websockets_server.py")),
    "websockets-deflate": Server("websockets, compressed", _script("websockets_server.py", extra="deflate")),
    "fastapi": Server("FastAPI, uvicorn", _script("fastapi_server.py", own_environment=True)),
    "socketio": Server("python-socketio", _script("socketio_server.py", own_environment=True)),
}
