"""The engine suite over Socket.IO: a client and an engine that translate between packets and the suite's messages.

The suite's text message `x` becomes the event `["m", "x"]`. A binary message becomes an event with an attachment. The
engine exchanges packets with its peers, and `PlainSocketio` translates them into the suite's payloads and back.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from mycelia.protocol.http.request import Headers, HttpReply
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.wire.envelope import Request
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.raw_client import HandshakeResponse, TcpRawClient
from mycelia.transports.seam import Accept, Admit
from mycelia.transports.socketio.engine import SocketioEngine
from tests.integration.asgi_servers import HttpParser
from tests.integration.translating_server import Delegate, TranslatingServer

__all__ = ["PlainSocketio", "SocketioServer"]

_CODEC = SocketioCodec()


class _Plain(Delegate):
    """A transport that takes payloads."""

    def send(self, payload: bytes, binary: bool) -> None:
        data = payload if binary else payload.decode()
        self._other.send(_CODEC.encode_value({"event": "m", "data": data}), False)


class _Reader(Delegate):
    """A peer that receives payloads."""

    def opened(self, transport: Any) -> None:
        transport.accepted("c")  # the client counts as connected from now on
        self._other.opened(_Plain(transport))

    def received(self, payload: bytes, binary: bool) -> None:
        request = _CODEC.decode(payload)
        assert isinstance(request, Request)
        body: Any = request.body
        self._other.received(body if isinstance(body, bytes) else body.encode(), isinstance(body, bytes))


class PlainSocketio(SocketioEngine):
    """The engine with the requests and payloads that the suite expects."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        def admit(request: Any) -> Accept | HttpReply:
            lines = [
                line for line in request.headers.items() if line[0] != "sec-websocket-protocol"
            ]  # the engine adds it
            decision = handler(replace(request, headers=Headers(lines)))
            return replace(decision, peer=_Reader(decision.peer)) if isinstance(decision, Accept) else decision

        super().on(event, admit)


class SocketioClient:
    """A client over WebSocket that sends and returns the suite's messages."""

    def __init__(self, client: TcpRawClient) -> None:
        self._client = client

    async def send_head(self, data: bytes) -> None:
        line, version, rest = data.partition(b" HTTP/1.1")
        separator = b"&" if b"?" in line else b"?"
        changed = line + separator + b"EIO=4&transport=websocket" + version + rest if version else data
        await self._client.send_head(changed)

    async def answer(self) -> HandshakeResponse | None:
        """Join the namespace and return 101, or the status in the data of the rejection."""
        answer = await self._client.answer()
        if answer is None or answer.status != 101:
            return answer
        await self._client.receive()
        await self._client.send(Opcode.TEXT, b"40")
        frame = await self._client.receive()
        if frame is None or frame.opcode == Opcode.CLOSE:
            return None
        if frame.payload.startswith(b"44"):
            error = json.loads(frame.payload[2:])
            return HandshakeResponse(error["data"]["status"], {}, error["message"].encode() + b"\n")
        assert frame.payload.startswith(b"40{"), frame
        return answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        if opcode == Opcode.TEXT:
            await self._client.send(opcode, b'42["m",' + json.dumps(payload.decode()).encode() + b"]", fin=fin, rsv=rsv)
        elif opcode == Opcode.BINARY:
            await self._client.send(Opcode.TEXT, b'451-["m",{"_placeholder":true,"num":0}]')
            await self._client.send(opcode, payload, fin=fin, rsv=rsv)
        else:
            await self._client.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        while (frame := await self._client.receive()) is not None:
            text = frame.payload
            if frame.opcode != Opcode.TEXT:
                return frame
            if text == b"2":
                await self._client.send(Opcode.TEXT, b"3")
            elif text.startswith(b"42"):
                return replace(frame, payload=json.loads(text[2:])[1].encode())
            elif text.startswith(b"451-"):
                return await self._client.receive()
            elif text.startswith(b"41"):
                return Frame(Opcode.CLOSE, True, 0, close_payload(1000))
        return None

    async def hang_up(self) -> None:
        await self._client.hang_up()


class SocketioServer(TranslatingServer):
    capabilities: frozenset[str] = frozenset()

    def __init__(self, http: HttpParser = "h11") -> None:
        super().__init__(SocketioClient, http)
