"""The server under test: `mycelia_server.py --engine picows|websockets|socketio --port P [--protect NAME]`.

Two exposed routes, as an application would write them: `bench://echo` returns the body of its request,
`bench://publish` broadcasts it (`concurrent`, so that what a publisher has in flight is broadcast in one turn of the
loop and leaves in one write per recipient). Every protection stays at its default; only `maxConnections`, a capacity
figure, may be raised to the size of the run, and is printed. `--protect` switches on one protection that is off by
default, at a limit that is never reached, to measure what it costs. `socketio` is served by uvicorn, with the settings
of the rival's (`peers/socketio_server.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

from mycelia import BaseSubsystem, Message, MessageSystem
from mycelia.websocket import Decision, WebSocketSubsystem

__all__ = ["main"]

_NEVER = {"maxMessages": 10**9, "windowMs": 1000}
PROTECTIONS: dict[str, dict[str, Any]] = {
    "rate": {"limits": {"ratePerConnection": _NEVER}},
    "rates": {"limits": dict.fromkeys(("ratePerConnection", "ratePerAddress", "ratePerPrincipal"), _NEVER)},
    "timeout": {"limits": {"handlerTimeout": 60_000}},
    "policy": {"routing": {"policy": lambda message, principal, route: True}},
    "policy-cached": {"routing": {"policy": lambda message, principal, route: Decision(True, cache=True)}},
}


def make_system(
    engine: str, port: int, max_connections: int | None, protect: str | None, deflate: Any = False
) -> tuple[MessageSystem, WebSocketSubsystem]:
    """The application, not built yet."""
    system = MessageSystem("bench-server")
    bench = BaseSubsystem("bench", ms=system)

    @bench.route("bench://echo", expose=True)
    async def echo(message: Message, params: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        return {"success": True, "data": message.body}

    @bench.route("bench://publish", expose=True, concurrent=True)
    async def publish(message: Message, params: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        counts = await system.send(Message("websocket://broadcast", {"event": "bench", "data": message.body}))
        return {"success": True, "data": counts}

    endpoint: dict[str, Any] = {"type": "socketio", "path": "/socket.io"}  # host and port are the ASGI server's
    if engine != "socketio":
        endpoint = {"type": engine, "host": "127.0.0.1", "port": port, "path": "/ws"}
    config: dict[str, Any] = {"websocket": endpoint}
    if deflate:
        config["websocket"]["options"] = {"perMessageDeflate": deflate}
    if max_connections is not None:
        capacities = ("maxConnections", "maxHalfOpen", "maxHalfOpenPerAddress")
        accepts = {"maxMessages": max_connections, "windowMs": 1000}
        config["connection"] = dict.fromkeys(capacities, max_connections)
        config["limits"] = {
            "connectionsPerAddress": max_connections,
            "acceptRate": accepts,
            "acceptRatePerAddress": accepts,
        }
    for section, values in PROTECTIONS.get(protect or "", {}).items():
        config[section] = {**config.get(section, {}), **values}
    return system, WebSocketSubsystem("websocket", ms=system, config=config)


async def serve(engine: str, port: int, max_connections: int | None, protect: str | None, deflate: Any) -> None:
    """Serves until SIGTERM or SIGINT."""
    system, sockets = make_system(engine, port, max_connections, protect, deflate)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with system:
        if not sockets.websocket.is_running():
            await sockets.websocket.start()
        ready = {"engine": engine, "port": port, "maxConnections": max_connections or "default"}
        print(json.dumps(ready), flush=True)
        await stop.wait()


def serve_by_uvicorn(port: int, max_connections: int | None, protect: str | None) -> None:
    """Serves Socket.IO until SIGTERM or SIGINT."""
    import uvicorn

    _, sockets = make_system("socketio", port, max_connections, protect)
    ws: Any = sockets.asgi.websockets  # which needs no setting of the rival's: that one has nothing like it
    uvicorn.run(sockets.asgi, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", ws=ws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", default="picows", choices=("picows", "websockets", "socketio"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-connections", type=int, default=None)
    parser.add_argument("--protect", default=None, choices=tuple(PROTECTIONS))
    parser.add_argument("--deflate", type=json.loads, default=False, help="`perMessageDeflate`, as JSON")
    given = parser.parse_args()
    if given.engine == "socketio":
        serve_by_uvicorn(given.port, given.max_connections, given.protect)
        return
    work = serve(given.engine, given.port, given.max_connections, given.protect, given.deflate)
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)


if __name__ == "__main__":
    main()
