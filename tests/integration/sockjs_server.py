"""The engine suite over SockJS: a client and an engine that translate between frames and the suite's messages.

The path that the suite requests travels in the query, because the engine has one path. SockJS has no binary messages,
so they travel as text behind a prefix.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.raw_client import HandshakeResponse, TcpRawClient
from mycelia.transports.seam import Accept, Admit
from mycelia.transports.sockjs.engine import SockjsEngine
from tests.integration.asgi_servers import HttpParser
from tests.integration.translating_server import Delegate, TranslatingServer

__all__ = ["PathSockjs", "SockjsServer"]


_BINARY = b"binary:"


def _prefixed(payload: bytes) -> bytes:
    return _BINARY + payload.decode("latin-1").encode()


def _plain(text: bytes) -> tuple[bytes, bool]:
    """Return the payload, and True if it is binary."""
    if not text.startswith(_BINARY):
        return text, False
    return text.removeprefix(_BINARY).decode().encode("latin-1"), True


class _Prefixing(Delegate):
    """A transport that adds the prefix to binary messages."""

    def send(self, payload: bytes, binary: bool) -> None:
        self._other.send(_prefixed(payload) if binary else payload, False)


class _Reader(Delegate):
    """A peer that receives payloads without the prefix."""

    def opened(self, transport: Any) -> None:
        self._other.opened(_Prefixing(transport))

    def received(self, payload: bytes, binary: bool) -> None:
        self._other.received(*_plain(payload))


class PathSockjs(SockjsEngine):
    """The engine at the root, with the paths that the suite expects."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        def admit(request: Any) -> Accept | HttpReply:
            decision = handler(replace(request, target=request.target.partition("at=")[2]))
            return replace(decision, peer=_Reader(decision.peer)) if isinstance(decision, Accept) else decision

        super().on(event, admit)


class SockjsClient:
    """A client over WebSocket that sends and returns the suite's messages."""

    def __init__(self, client: TcpRawClient) -> None:
        self._client = client

    async def send_head(self, data: bytes) -> None:
        method, _, rest = data.partition(b" ")
        await self._client.send_head(method + b" /0/s/websocket?at=" + rest if rest else data)

    async def answer(self) -> HandshakeResponse | None:
        answer = await self._client.answer()
        if answer is not None and answer.status == 101:
            frame = await self._client.receive()
            assert frame is None or frame.opcode == Opcode.CLOSE or frame.payload == b"o", frame
        return answer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        if opcode in (Opcode.TEXT, Opcode.BINARY):
            text = _prefixed(payload) if opcode == Opcode.BINARY else payload
            opcode, payload = Opcode.TEXT, json.dumps([text.decode()]).encode()
        await self._client.send(opcode, payload, fin=fin, rsv=rsv)

    async def receive(self) -> Frame | None:
        while (frame := await self._client.receive()) is not None:
            if frame.opcode != Opcode.TEXT:
                return frame
            if frame.payload.startswith(b"a"):
                [text] = json.loads(frame.payload[1:])
                payload, binary = _plain(text.encode())
                return replace(frame, opcode=Opcode.BINARY if binary else Opcode.TEXT, payload=payload)
        return None

    async def hang_up(self) -> None:
        await self._client.hang_up()


class SockjsServer(TranslatingServer):
    capabilities: frozenset[str] = frozenset({"close_codes", "codes", "headers"})

    def __init__(self, http: HttpParser = "h11") -> None:
        super().__init__(SockjsClient, http)
