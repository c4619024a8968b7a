"""FastAPI on uvicorn: `fastapi_server.py PORT rpc`. httptools and uvloop, compression off."""

# mypy: ignore-errors
# (its libraries live in an environment of their own, which mypy does not see)

import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


async def echo(body: Any) -> Any:
    return body


ROUTES = {"bench://echo": echo}


@app.websocket("/ws")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            request = await websocket.receive_json()
            data = await ROUTES[request["path"]](request["body"])
            await websocket.send_json(
                {
                    "success": True,
                    "data": data,
                    "correlationId": request["correlationId"],
                    "metadata": {"timestamp": int(time.time() * 1000)},
                }
            )
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        loop="uvloop",
        http="httptools",
        ws_per_message_deflate=False,
    )
