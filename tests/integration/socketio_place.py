"""The engine suite in the language of Socket.IO: a client that speaks it, an engine that shows payloads as they were.

The suite's text `x` is the event `["m", "x"]`, a binary message one with an attachment. What the engine hands to its
peers, and takes from them, are packets; `PlainSocketio` turns them into the suite's payloads and back.
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
from mycelia.testing.wire import Answer, TcpWire
from mycelia.transports.seam import Accept, Admit
from mycelia.transports.socketio.engine import SocketioEngine
from tests.integration.asgi_places import HttpParser
from tests.integration.spoken_places import SpokenPlace, Through

__all__ = ["PlainSocketio", "SocketioPlace"]

_CODEC = SocketioCodec()


class _Plain(Through):
    """A transport that takes payloads; everything else is the transport's below."""

    def send(self, payload: bytes, binary: bool) -> None:
        data = payload if binary else payload.decode()
        self._other.send(_CODEC.encode_value({"event": "m", "data": data}), False)


class _Reader(Through):
    """A peer that is told payloads; everything else is the peer's above."""

    def opened(self, transport: Any) -> None:
        transport.accepted("c")  # until then the client is not told that it is connected
        self._other.opened(_Plain(transport))

    def received(self, payload: bytes, binary: bool) -> None:
        request = _CODEC.decode(payload)
        assert isinstance(request, Request)
        body: Any = request.body
        self._other.received(body if isinstance(body, bytes) else body.encode(), isinstance(body, bytes))


class PlainSocketio(SocketioEngine):
    """The engine as the suite's gate and peers know engines."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        def admit(request: Any) -> Accept | HttpReply:
            lines = [
                line for line in request.headers.items() if line[0] != "sec-websocket-protocol"
            ]  # the engine's own
            verdict = handler(replace(request, headers=Headers(lines)))
            return replace(verdict, peer=_Reader(verdict.peer)) if isinstance(verdict, Accept) else verdict

        super().on(event, admit)


class SocketioWire:
    """A client over WebSocket, that sends and shows the suite's messages."""

    def __init__(self, wire: TcpWire) -> None:
        self._wire = wire

    async def send_head(self, data: bytes) -> None:
        line, version, rest = data.partition(b" HTTP/1.1")
        mark = b"&" if b"?" in line else b"?"
        asked = line + mark + b"EIO=4&transport=websocket" + version + rest if version else data
        await self._wire.send_head(asked)

    async def answer(self) -> Answer | None:
        """101 once the namespace is joined; a refusal of it has its status in its data."""
        answer = await self._wire.answer()
        if answer is None or answer.status != 101:
            return answer
        await self._wire.receive()
        await self._wire.send(Opcode.TEXT, b"40")
        frame = await self._wire.receive()
        if frame is None or frame.opcode == Opcode.CLOSE:
            return None
        if frame.payload.startswith(b"44"):
            told = json.loads(frame.payload[2:])
            return Answer(told["data"]["status"], {}, told["message"].encode() + b"\n")
        assert frame.payload.startswith(b"40{"), frame
        return answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        if opcode == Opcode.TEXT:
            await self._wire.send(opcode, b'42["m",' + json.dumps(payload.decode()).encode() + b"]", fin=fin, rsv=rsv)
        elif opcode == Opcode.BINARY:
            await self._wire.send(Opcode.TEXT, b'451-["m",{"_placeholder":true,"num":0}]')
            await self._wire.send(opcode, payload, fin=fin, rsv=rsv)
        else:
            await self._wire.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        while (frame := await self._wire.receive()) is not None:
            text = frame.payload
            if frame.opcode != Opcode.TEXT:
                return frame
            if text == b"2":
                await self._wire.send(Opcode.TEXT, b"3")
            elif text.startswith(b"42"):
                return replace(frame, payload=json.loads(text[2:])[1].encode())
            elif text.startswith(b"451-"):
                return await self._wire.receive()
            elif text.startswith(b"41"):
                return Frame(Opcode.CLOSE, True, 0, close_payload(1000))
        return None

    async def hang_up(self) -> None:
        await self._wire.hang_up()


class SocketioPlace(SpokenPlace):
    capabilities: frozenset[str] = frozenset()

    def __init__(self, http: HttpParser = "h11") -> None:
        super().__init__(SocketioWire, http)
