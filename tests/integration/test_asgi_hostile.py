"""The asgi engine under other people's servers, met by clients that mean no good."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest
from websockets.asyncio.client import connect

from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Opcode
from tests.integration.harness import PATIENCE, Client, handshake, within
from tests.integration.test_asgi import SERVERS, ask, served
from tests.support.leaks import Holdings

BOUNDED = ["uvicorn-sansio", "uvicorn-websockets"]  # whose limit holds while they inflate
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}
MEBIBYTE = 1024 * 1024


def bomb(mebibytes: int) -> bytes:
    """A compressed message of so many MiB, a thousandth as long."""
    made = zlib.compressobj(9, wbits=-15)
    block = bytes(MEBIBYTE)
    packed = b"".join(made.compress(block) for _ in range(mebibytes))
    return (packed + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


def peak(pids: set[str]) -> int:
    """The most memory that a process ever had, in bytes; 0 where there is no /proc."""
    found = [0]
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as lines:
                found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        except FileNotFoundError:
            continue
    return max(found)


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("pieces", [1, 40])
@pytest.mark.parametrize("server", BOUNDED)
async def test_a_bomb_is_inflated_no_further_than_the_limit(server: str, pieces: int, free_port: int) -> None:
    before = Holdings.now().children
    async with served(server, "root", free_port) as url, Client.socket(free_port) as client:
        server_pids = set(Holdings.now().children - before)
        head = await client.upgrade(headers=OFFER)
        assert "permessage-deflate" in head
        async with connect(f"{url}/ws") as other:
            assert await ask(other, "app://echo", "hello") == "hello"
            usual, packed = peak(server_pids), bomb(180)
            assert len(packed) < 200_000  # `--ws-max-size`, which would end a longer frame before it is read
            step = -(-len(packed) // pieces)
            for at in range(0, len(packed), step):
                last, rsv = at + step >= len(packed), 0 if at else 4
                opcode = Opcode.CONTINUATION if at else Opcode.BINARY
                try:
                    await client.send_frame(opcode, packed[at : at + step], fin=last, rsv=rsv)
                except ConnectionError:
                    break  # it has read enough
            assert (await client.closed())[0] == 1009
            assert await ask(other, "app://echo", "still here") == "still here"
            assert peak(server_pids) - usual < 16 * MEBIBYTE


@pytest.mark.time_limit(60)
async def test_granian_inflates_nothing(free_port: int) -> None:
    async with served("granian", "root", free_port), Client.socket(free_port) as client:
        assert "sec-websocket-extensions" not in (await client.upgrade(headers=OFFER)).lower()
        await client.send_frame(Opcode.BINARY, bomb(1), rsv=4)
        while (frame := await client.frame()) is not None:
            assert frame.opcode == Opcode.CLOSE and parse_close(frame.payload)[0] in (1002, 1005)


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", SERVERS)
async def test_resets_at_every_step(server: str, free_port: int) -> None:
    """Whoever was let in is counted out again, and the server has nothing to complain of (`served` looks)."""
    whole = handshake()
    async with served(server, "root", free_port) as url, connect(f"{url}/ws") as honest:
        accepted = 0
        for _ in range(5):
            for part in (b"", whole[:40], whole):
                async with Client.socket(free_port) as client:
                    await client.write(part)
                    client.reset()
            for path in ("app://echo", "app://flood/50"):
                async with Client.socket(free_port) as client:
                    await client.upgrade()
                    accepted += 1
                    await client.json({"path": path})
                    await client.send_frame(Opcode.TEXT, b'{"path": "app://ec', fin=False)
                    client.reset()
        async with asyncio.timeout(PATIENCE):
            while True:
                told = await ask(honest, "app://told")
                if sum("accepted" in each for each in told) >= accepted:
                    break
        assert await ask(honest, "app://echo", "still here") == "still here"


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", SERVERS)
async def test_who_never_reads_stops_nobody(server: str, free_port: int) -> None:
    async with served(server, "root", free_port) as url, connect(f"{url}/ws", max_size=None) as honest:
        for given_up in range(1, 4):
            async with Client.socket(free_port, receive_buffer=4096) as deaf:
                await deaf.upgrade()
                await deaf.json({"path": "app://flood/1000"})
                for number in range(20):
                    assert await ask(honest, "app://echo", number) == number
                async with asyncio.timeout(PATIENCE):
                    while (await ask(honest, "app://told")).count({"code": "flooded"}) < given_up:
                        pass


PLAIN = [("GET", "/ws", 426), ("GET", "/nowhere", 404), ("HEAD", "/ws", 405), ("POST", "/ws", 405), ("PUT", "/", 405)]


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", SERVERS)
async def test_plain_http(server: str, free_port: int) -> None:
    async with served(server, "root", free_port):
        for method, path, status in PLAIN:
            reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
            head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            answer = (await within(reader.read())).decode()
            writer.close()
            await writer.wait_closed()
            assert answer.startswith(f"HTTP/1.1 {status} "), (method, path)


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("server", [name for name in SERVERS if name != "hypercorn"])  # which complains of itself then
async def test_a_server_that_is_told_to_end_takes_its_clients_along(server: str, free_port: int) -> None:
    clients = []
    async with served(server, "root", free_port) as url:
        for _ in range(3):
            clients.append(await connect(f"{url}/ws"))
        assert json.loads(await _first(clients[0]))["success"]
    for client in clients:
        await within(client.wait_closed())
        assert client.close_code in (1001, 1006, 1012)


async def _first(client: object) -> str:
    await within(client.send('{"path": "app://echo", "body": 1}'))  # type: ignore[attr-defined]
    answer: str = await within(client.recv())  # type: ignore[attr-defined]
    return answer
