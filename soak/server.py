"""The server under attack: `python -m soak.server --port P`. Every protection stays at its default but capacity."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from typing import Any

import uvloop

from mycelia import BaseSubsystem, Message, MessageSystem
from mycelia.realtime.overload.memory_trim import MemoryTrim
from mycelia.websocket import WebSocketSubsystem

__all__ = ["main"]


async def serve(engine: str, port: int, connections: int, accepts: int) -> None:
    """Serves until SIGTERM."""
    system = MessageSystem("soak")
    app = BaseSubsystem("soak", ms=system)
    limits = {"max_connections": connections, "connection_timeout": 5.0}
    endpoint = {"type": engine, "host": "127.0.0.1", "port": port}
    config: dict[str, Any] = {"websocket": endpoint, "connection": limits}
    if accepts:
        config["limits"] = {"accept_rate": {"max_messages": accepts, "window": 1.0}}
    sockets = WebSocketSubsystem("websocket", ms=system, config=config)

    @app.route("soak://echo", expose=True)
    async def echo(message: Any, params: Any, options: Any) -> Any:
        return message.body

    @app.route("soak://slow", expose=True)
    async def slow(message: Any, params: Any, options: Any) -> Any:
        await asyncio.sleep(0.02)
        return message.body

    @app.route("soak://fail", expose=True)
    async def fail(message: Any, params: Any, options: Any) -> Any:
        raise ZeroDivisionError

    @app.route("soak://news", expose=True)
    async def news(message: Any, params: Any, options: Any) -> Any:
        sent = await system.send(Message("websocket://broadcast", {"event": "news", "data": message.body}))
        return sent

    @app.route("soak://state", expose=True)
    async def state(message: Any, params: Any, options: Any) -> Any:
        return {"tasks": len(asyncio.all_tasks()), "connections": sockets.websocket.get_connection_count()}

    @app.route("soak://relief", expose=True)
    async def relief(message: Any, params: Any, options: Any) -> Any:
        return MemoryTrim().run()

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with system:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="The server under attack")
    parser.add_argument("--engine", default="picows")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--accepts", type=int, default=0, help="accepts per second; 0 for the default")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # a terminal or a file is not what is measured
    uvloop.run(serve(given.engine, given.port, given.connections, given.accepts))


if __name__ == "__main__":
    main()
