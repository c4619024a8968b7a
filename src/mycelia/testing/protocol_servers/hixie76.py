"""The WebSocket handshake of draft hixie-76, from before RFC 6455, for the official tests of SockJS.

uvicorn gives every WebSocket request to one protocol class, and this is that class. It answers hixie-76 handshakes
itself, rejects methods other than GET, and passes all other connections on to uvicorn's own protocol. Browsers have not
used hixie-76 since 2011, and no endpoint of Mycelia accepts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import md5
from typing import Any, cast

__all__ = ["Hixie76Protocol", "challenge_response"]

_MAX_BYTES = 1024 * 1024  # of one message, and of the handshake
_NONCE_BYTES = 8
_NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def challenge_response(first: str, second: str, nonce: bytes) -> bytes:
    """Return the 16 bytes that answer a handshake (draft 76 §5.2).

    Raises:
        ValueError: A key is invalid.
    """
    return md5(b"".join((_number(first), _number(second), nonce)), usedforsecurity=False).digest()


def _number(key: str) -> bytes:
    digits, spaces = "".join(each for each in key if each in "0123456789"), key.count(" ")
    if not digits or not spaces:
        raise ValueError(f"expected a key with digits and spaces, got {key!r}")
    return (int(digits) // spaces).to_bytes(4, "big")


class Hixie76Protocol(asyncio.Protocol):
    """One connection.

    Args:
        app: The ASGI application.
        make_rfc6455: Makes uvicorn's own protocol, for all handshakes but those of hixie-76.
    """

    def __init__(self, app: Any, make_rfc6455: Callable[[], asyncio.Protocol]) -> None:
        self._app, self._make_rfc6455 = app, make_rfc6455
        self._rfc6455: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._keys: tuple[str, str] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read the handshake, then frames, or pass the data on."""
        if self._rfc6455 is not None:
            self._rfc6455.data_received(data)
            return
        self._data += data
        if self._task is None and self._keys is None:
            self._read_head()
        if self._keys is not None and len(self._data) >= _NONCE_BYTES:
            self._begin(*self._keys)
        if self._task is not None:
            self._read_frames()
        if len(self._data) > _MAX_BYTES and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        """Pass the end on."""
        return None if self._rfc6455 is None else self._rfc6455.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._rfc6455 is not None:
            self._rfc6455.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._rfc6455 is not None:
            self._rfc6455.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Report the disconnect to the application, and pass it on."""
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1005})
        if self._rfc6455 is not None:
            self._rfc6455.connection_lost(error)

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
            self._rfc6455 = self._make_rfc6455()
            self._rfc6455.connection_made(self._transport)
            self._rfc6455.data_received(self._data)

    def _begin(self, first: str, second: str) -> None:
        """Answer the challenge, and call the application as uvicorn does."""
        assert self._transport is not None, "data came from it"
        nonce, self._data, self._keys = self._data[:_NONCE_BYTES], self._data[_NONCE_BYTES:], None
        try:
            self._transport.write(challenge_response(first, second, nonce))
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
            self._transport.close()  # b"\xff\0" is a Close; other bytes are invalid

    async def _send(self, event: dict[str, Any]) -> None:
        assert self._transport is not None, "data came from it"
        if event["type"] == "websocket.send":
            self._transport.write(b"\0%b\xff" % event["text"].encode())
        elif event["type"] == "websocket.close":
            self._transport.write(b"\xff\0")
            self._transport.close()
