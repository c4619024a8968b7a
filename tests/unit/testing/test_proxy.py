"""The fault proxy, between two bare sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from mycelia.testing import FaultProxy
from mycelia.testing.proxied_connection import Direction
from tests.unit.realtime.support import until

pytestmark = pytest.mark.every_loop
PATIENCE = 5.0


class Far:
    """The server behind the proxy: hands its connections to the test."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue(8)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait((reader, writer))
        with suppress(ConnectionError):
            await writer.wait_closed()


class Ends:
    """A connection through the proxy, seen from both ends."""

    def __init__(
        self,
        proxy: FaultProxy,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self.reader, self.writer = near
        self.far_reader, self.far_writer = far

    def of(self, direction: Direction) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        """Who writes and who reads in a direction."""
        return (self.writer, self.far_reader) if direction == "up" else (self.far_writer, self.reader)


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    far = Far()
    server = await asyncio.start_server(far.accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with FaultProxy((host, port)) as proxy, asyncio.timeout(PATIENCE * 2):
        near = await asyncio.open_connection(*proxy.address)
        ends = Ends(proxy, near, await far.accepted.get())
        try:
            yield ends
        finally:
            for writer in (ends.writer, ends.far_writer):
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            server.close()
            await server.wait_closed()


directions = pytest.mark.parametrize("direction", ["up", "down"])


@directions
async def test_without_a_fault_it_carries_everything_and_counts(direction: Direction) -> None:
    async with connected() as ends:
        writer, reader = ends.of(direction)
        payload = bytes(range(256)) * 4096
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
        assert ends.proxy.carried(direction) == len(payload)
        assert ends.proxy.dropped(direction) == 0 and ends.proxy.links == 1


@directions
async def test_an_end_passes_and_the_other_direction_goes_on(direction: Direction) -> None:
    async with connected() as ends:
        writer, reader = ends.of(direction)
        writer.write(b"last")
        writer.write_eof()
        assert await reader.read() == b"last"
        back_writer, back_reader = ends.of("down" if direction == "up" else "up")
        back_writer.write(b"reply")
        assert await back_reader.readexactly(5) == b"reply"
        back_writer.write_eof()
        assert await back_reader.read() == b""
        await ends.proxy.emptied()


@directions
async def test_split_hands_over_byte_by_byte(direction: Direction) -> None:
    async with connected() as ends:
        ends.proxy.split(direction)
        writer, reader = ends.of(direction)
        writer.write(b"abcdef")
        pieces: list[bytes] = []
        while len(b"".join(pieces)) < 6:
            pieces.append(await reader.read(100))
        assert b"".join(pieces) == b"abcdef"
        assert len(pieces) > 1  # the kernel may join some, never all


async def test_split_takes_a_size_and_refuses_nonsense() -> None:
    async with connected() as ends:
        with pytest.raises(ValueError, match="at least 1 byte, got 0"):
            ends.proxy.split("up", 0)
        with pytest.raises(ValueError, match="'up' or 'down'"):
            ends.proxy.stall("sideways")  # type: ignore[arg-type]  # what is tested is that a wrong one is refused
        ends.proxy.split("up", 4)
        ends.writer.write(b"0123456789")
        assert await ends.far_reader.readexactly(10) == b"0123456789"


@directions
async def test_delay_holds_back_and_keeps_the_order(direction: Direction) -> None:
    async with connected() as ends:
        ends.proxy.delay(direction, 0.02)
        writer, reader = ends.of(direction)
        began = asyncio.get_running_loop().time()
        for number in range(3):
            writer.write(b"%d" % number)
        assert await reader.readexactly(3) == b"012"
        assert asyncio.get_running_loop().time() - began >= 0.019


@directions
async def test_a_stalled_line_holds_the_sender_up_and_loses_nothing(direction: Direction) -> None:
    async with connected() as ends:
        ends.proxy.stall(direction)
        writer, reader = ends.of(direction)
        payload = b"x" * (32 * 1024 * 1024)
        writer.write(payload)
        back_writer, back_reader = ends.of("down" if direction == "up" else "up")
        back_writer.write(b"the other way")
        assert await back_reader.readexactly(13) == b"the other way"
        assert writer.transport.get_write_buffer_size() > 0  # more than the sockets hold
        assert ends.proxy.carried(direction) == 0
        ends.proxy.flow(direction)
        assert await reader.readexactly(len(payload)) == payload


@directions
async def test_a_black_hole_swallows_bytes_and_ends(direction: Direction) -> None:
    async with connected() as ends:
        ends.proxy.drop(direction)
        writer, reader = ends.of(direction)
        back_writer, back_reader = ends.of("down" if direction == "up" else "up")
        writer.write(b"lost")
        await until(lambda: ends.proxy.dropped(direction) == 4)
        ends.proxy.flow(direction)
        writer.write(b"found")
        assert await reader.readexactly(5) == b"found"
        ends.proxy.drop(direction)
        writer.write_eof()
        back_writer.write(b"still here")
        assert await back_reader.readexactly(10) == b"still here"
        assert ends.proxy.links == 1 and not reader.at_eof()


@directions
async def test_half_close_ends_one_direction(direction: Direction) -> None:
    async with connected() as ends:
        ends.proxy.half_close(direction)
        writer, reader = ends.of(direction)
        assert await reader.read() == b""
        writer.write(b"too late")
        back_writer, back_reader = ends.of("down" if direction == "up" else "up")
        back_writer.write(b"back")
        assert await back_reader.readexactly(4) == b"back"
        await until(lambda: ends.proxy.dropped(direction) == 8)


async def test_reset_is_a_reset_on_both_sides() -> None:
    async with connected() as ends:
        ends.proxy.reset()
        for reader in (ends.reader, ends.far_reader):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        await ends.proxy.emptied()


async def test_hang_up_is_an_end_on_both_sides() -> None:
    async with connected() as ends:
        ends.proxy.hang_up()
        assert await ends.reader.read() == b"" == await ends.far_reader.read()
        await ends.proxy.emptied()


async def test_a_reset_of_one_side_reaches_the_other() -> None:
    async with connected() as ends:
        ends.proxy.stall("down")
        ends.far_writer.write(b"unread")
        ends.proxy.flow("down")
        ends.writer.transport.abort()
        with suppress(ConnectionError):  # an end or a reset: what the kernel made of it
            assert await ends.far_reader.read() == b""


async def test_a_server_that_is_not_there_resets_the_client(free_port: int) -> None:
    async with FaultProxy(("127.0.0.1", free_port)) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await proxy.emptied()


async def test_leaving_takes_every_connection_along() -> None:
    async with connected() as ends:
        await ends.proxy.__aexit__(None, None, None)
        assert await ends.far_reader.read() == b""
        with pytest.raises(RuntimeError, match="does not listen"):
            ends.proxy.url()
