"""The websockets library on uvloop: `websockets_server.py PORT echo|fanout [deflate]`. Compression off unless asked."""

import asyncio
import json
import sys
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def fanout(connection: ServerConnection) -> None:
    async for message in connection:
        request = json.loads(message)
        peers = connection.server.connections
        broadcast(peers, json.dumps({"event": "bench", "data": request["body"]}, separators=(",", ":")))
        reply = {"success": True, "data": {"sent": len(peers)}, "correlationId": request["correlationId"]}
        await connection.send(json.dumps(reply))


async def main(port: int, mode: str, compression: str | None) -> None:
    talk = fanout if mode == "fanout" else echo

    async def handler(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await talk(connection)

    async with serve(handler, "127.0.0.1", port, compression=compression, backlog=4096):
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], "deflate" if sys.argv[3:] == ["deflate"] else None))
