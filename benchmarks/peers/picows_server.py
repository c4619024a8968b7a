"""Bare picows on uvloop: `picows_server.py PORT echo|fanout|idle`. No kernel, no route, no protection.

`idle` is `echo` with the smallest useful read buffer: the least that a connection of this library costs.
"""

import json
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

PEERS: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class Fanout(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        PEERS.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        PEERS.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            request = json.loads(frame.get_payload_as_bytes())
            event = json.dumps({"event": "bench", "data": request["body"]}, separators=(",", ":")).encode()
            for peer in PEERS:
                peer.send(WSMsgType.TEXT, event)
            reply = {"success": True, "data": {"sent": len(PEERS)}, "correlationId": request["correlationId"]}
            transport.send(WSMsgType.TEXT, json.dumps(reply).encode())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


async def main(port: int, mode: str) -> None:
    listener = Fanout if mode == "fanout" else Echo
    buffer_size = 512 if mode == "idle" else 16 * 1024

    def accept(request: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(accept, "127.0.0.1", port, backlog=4096, read_buffer_init_size=buffer_size)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
