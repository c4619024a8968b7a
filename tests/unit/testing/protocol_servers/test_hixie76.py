"""Handshakes from before RFC 6455, for the test server of SockJS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mycelia.testing.protocol_servers.hixie76 import Hixie76Protocol, challenge_response
from tests.integration.harness import within

KEYS = ("18x 6]8vM;54 *(5:  {   U1]8  z [  8", "1_ tx7X d  <  nw  334J702) 7]o}` 0")  # of the draft, with its answer
NONCE, ANSWER = b"Tm[K T2u", b"fQJ,fN/4F4!~K~MH"


class Modern(asyncio.Protocol):
    """Stands for uvicorn's own protocol."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"modern " + data[-2:])
        self.transport.close()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": scope["path"] + event["text"]})
        if event["text"] == "bye":
            await send({"type": "websocket.close", "code": 1000})


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    server = await asyncio.get_running_loop().create_server(lambda: Hixie76Protocol(echo, Modern), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


def head(method: str = "GET", keys: tuple[str, str] | None = KEYS) -> bytes:
    lines = [f"{method} /demo?x HTTP/1.1", "Host: example.com", "Origin: http://example.com"]
    if keys is not None:
        lines += [f"Sec-WebSocket-Key{at + 1}: {key}" for at, key in enumerate(keys)]
    return "\r\n".join([*lines, "", ""]).encode()


def test_the_answer_of_the_draft() -> None:
    assert challenge_response(*KEYS, NONCE) == ANSWER
    with pytest.raises(ValueError, match="digits and spaces"):
        challenge_response("1234", "5 6", NONCE)


async def test_an_old_client() -> None:
    async with connection() as (reader, writer):
        writer.write(head())
        answer = await within(reader.readuntil(b"\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Location: ws://example.com/demo?x\r\n" in answer
        writer.write(NONCE[:3])
        writer.write(NONCE[3:] + b"\0a\xff\0b")
        assert await within(reader.readexactly(16)) == ANSWER
        writer.write(b"ye\xff")
        assert await within(reader.readexactly(18)) == b"\0/demoa\xff\0/demobye\xff"
        assert await within(reader.read()) == b"\xff\0"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (head("POST"), b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n"),
        (head(keys=None), b"modern \r\n"),
        (head() + NONCE + b"x", b"HTTP/1.1 101 "),
        (head() + NONCE + b"\xff\0", b"HTTP/1.1 101 "),
    ],
)
async def test_what_ends_at_once(said: bytes, answer: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(said)
        assert (await within(reader.read())).startswith(answer)


async def test_keys_that_are_none_and_too_much() -> None:
    for said in (head(keys=("a", "b")) + NONCE, head() + NONCE + b"\0" + b"x" * (1024 * 1024 + 1)):
        async with connection() as (reader, writer):
            writer.write(said)
            with pytest.raises(ConnectionError):
                while await within(reader.read(65536)):
                    pass
                raise ConnectionResetError  # an end is as good
