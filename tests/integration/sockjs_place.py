"""The engine suite in the frames of SockJS: a client that speaks them, an engine whose one path stands for the suite's.

The path that the suite asks for travels in the query. SockJS has no binary: behind a mark the suite's travels as text.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.wire import Answer, TcpWire
from mycelia.transports.seam import Accept, Admit
from mycelia.transports.sockjs.engine import SockjsEngine
from tests.integration.asgi_places import HttpParser
from tests.integration.spoken_places import SpokenPlace, Through

__all__ = ["PathSockjs", "SockjsPlace"]


_BINARY = b"binary:"


def _marked(payload: bytes) -> bytes:
    return _BINARY + payload.decode("latin-1").encode()


def _plain(text: bytes) -> tuple[bytes, bool]:
    """The payload, and whether it is binary."""
    if not text.startswith(_BINARY):
        return text, False
    return text.removeprefix(_BINARY).decode().encode("latin-1"), True


class _Marking(Through):
    """A transport that marks what is binary; everything else is the transport's below."""

    def send(self, payload: bytes, binary: bool) -> None:
        self._other.send(_marked(payload) if binary else payload, False)


class _Reader(Through):
    """A peer that is told payloads without the mark; everything else is the peer's above."""

    def opened(self, transport: Any) -> None:
        self._other.opened(_Marking(transport))

    def received(self, payload: bytes, binary: bool) -> None:
        self._other.received(*_plain(payload))


class PathSockjs(SockjsEngine):
    """The engine at the root, as the suite's gate and peers know engines."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        def admit(request: Any) -> Accept | HttpReply:
            verdict = handler(replace(request, target=request.target.partition("at=")[2]))
            return replace(verdict, peer=_Reader(verdict.peer)) if isinstance(verdict, Accept) else verdict

        super().on(event, admit)


class SockjsWire:
    """A client over WebSocket, that sends and shows the suite's messages."""

    def __init__(self, wire: TcpWire) -> None:
        self._wire = wire

    async def send_head(self, data: bytes) -> None:
        method, _, rest = data.partition(b" ")
        await self._wire.send_head(method + b" /0/s/websocket?at=" + rest if rest else data)

    async def answer(self) -> Answer | None:
        answer = await self._wire.answer()
        if answer is not None and answer.status == 101:
            frame = await self._wire.receive()
            assert frame is None or frame.opcode == Opcode.CLOSE or frame.payload == b"o", frame
        return answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        if opcode in (Opcode.TEXT, Opcode.BINARY):
            text = _marked(payload) if opcode == Opcode.BINARY else payload
            opcode, payload = Opcode.TEXT, json.dumps([text.decode()]).encode()
        await self._wire.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        while (frame := await self._wire.receive()) is not None:
            if frame.opcode != Opcode.TEXT:
                return frame
            if frame.payload.startswith(b"a"):
                [text] = json.loads(frame.payload[1:])
                payload, binary = _plain(text.encode())
                return replace(frame, opcode=Opcode.BINARY if binary else Opcode.TEXT, payload=payload)
        return None

    async def hang_up(self) -> None:
        await self._wire.hang_up()


class SockjsPlace(SpokenPlace):
    capabilities: frozenset[str] = frozenset({"close_codes", "codes", "headers"})

    def __init__(self, http: HttpParser = "h11") -> None:
        super().__init__(SockjsWire, http)
