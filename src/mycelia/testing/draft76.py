"""WebSocket handshakes as they were before RFC 6455, which the official tests of SockJS still make.

uvicorn gives every request for a WebSocket to one protocol, and this one looks at it first: draft 76 of the hixie
protocol it speaks itself, another method than GET is told which there is, and the rest goes on to uvicorn's own. It is
for that test server only: no browser since 2011 has it, and no endpoint of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import md5
from typing import Any, cast

__all__ = ["OldHandshakes", "challenge_answer"]

_MOST = 1024 * 1024  # bytes of one message, and of the handshake
_NONCE_BYTES = 8
_NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def challenge_answer(first: str, second: str, nonce: bytes) -> bytes:
    """The 16 bytes that answer a handshake (draft 76 §5.2). ValueError for keys that are none."""
    return md5(b"".join((_number(first), _number(second), nonce)), usedforsecurity=False).digest()


def _number(key: str) -> bytes:
    digits, spaces = "".join(each for each in key if each in "0123456789"), key.count(" ")
    if not digits or not spaces:
        raise ValueError(f"expected a key with digits and spaces, got {key!r}")
    return (int(digits) // spaces).to_bytes(4, "big")


class OldHandshakes(asyncio.Protocol):
    """One connection. `modern` makes uvicorn's own protocol for what is not old."""

    def __init__(self, app: Any, modern: Callable[[], asyncio.Protocol]) -> None:
        self._app, self._make_modern = app, modern
        self._modern: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._keys: tuple[str, str] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._modern is not None:
            self._modern.data_received(data)
            return
        self._data += data
        if self._task is None and self._keys is None:
            self._read_head()
        if self._keys is not None and len(self._data) >= _NONCE_BYTES:
            self._begin(*self._keys)
        if self._task is not None:
            self._read_frames()
        if len(self._data) > _MOST and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        return None if self._modern is None else self._modern.eof_received()

    def pause_writing(self) -> None:
        if self._modern is not None:
            self._modern.pause_writing()

    def resume_writing(self) -> None:
        if self._modern is not None:
            self._modern.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1005})
        if self._modern is not None:
            self._modern.connection_lost(error)

    # -- inside --------------------------------------------------------------------------------------

    def _read_head(self) -> None:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end or self._transport is None:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip(" ") for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = first.split(" ")
        if method != "GET":
            self._transport.write(_NOT_ALLOWED)
            self._transport.close()
        elif "sec-websocket-key1" in headers:
            self._data = rest
            self._keys = headers["sec-websocket-key1"], headers.get("sec-websocket-key2", "")
            self._path = target.partition("?")[0]
            self._transport.write(
                "HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Origin: {headers.get('origin', '')}\r\n"
                f"Sec-WebSocket-Location: ws://{headers.get('host', '')}{target}\r\n\r\n".encode("latin-1")
            )
        else:
            self._modern = self._make_modern()
            self._modern.connection_made(self._transport)
            self._modern.data_received(self._data)

    def _begin(self, first: str, second: str) -> None:
        """Answers the challenge, and calls the application as uvicorn does."""
        assert self._transport is not None, "it has said something"
        nonce, self._data, self._keys = self._data[:_NONCE_BYTES], self._data[_NONCE_BYTES:], None
        try:
            self._transport.write(challenge_answer(first, second, nonce))
        except (ValueError, OverflowError):
            self._transport.abort()
            return
        self._events.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "scheme": "ws", "path": self._path, "headers": [(b"host", b"localhost")]}
        self._task = asyncio.get_running_loop().create_task(self._app(scope, self._events.get, self._send))

    def _read_frames(self) -> None:
        while (end := self._data.find(b"\xff", 1)) > 0 and self._data[:1] == b"\0":
            text, self._data = self._data[1:end], self._data[end + 1 :]
            self._events.put_nowait({"type": "websocket.receive", "text": text.decode("utf-8", "replace")})
        if self._data[:1] not in (b"", b"\0") and self._transport is not None:
            self._transport.close()  # b"\xff\0" is a Close, and all else is nothing

    async def _send(self, event: dict[str, Any]) -> None:
        assert self._transport is not None, "it has said something"
        if event["type"] == "websocket.send":
            self._transport.write(b"\0%b\xff" % event["text"].encode())
        elif event["type"] == "websocket.close":
            self._transport.write(b"\xff\0")
            self._transport.close()
