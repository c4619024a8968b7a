"""What hostile clients do, and a process that does it: `python -m soak.attacks --port P --clients 200`.

Each attacker repeats its attack until it is stopped, and comes back when the server throws it out.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import uvloop

from mycelia.protocol.ws.frames import mask_frame
from soak.wire import HEAD, Addresses, Link, Target, dial, message, yield_core

__all__ = ["ATTACKS", "attack", "main"]

_KEY = b"\x00\x00\x00\x00"
_FLOOD = message('{"path":"soak://echo","body":"x","correlationId":"f"}') * 500
_LARGE = message('{"path":"soak://echo","body":"' + "x" * 60_000 + '","correlationId":"l"}')
_PINGS = mask_frame(9, b"x" * 125, _KEY) * 400
_EMPTY = mask_frame(0, b"", _KEY, False) * 2000
_BOMB = message('{"path":"soak://echo","body":[' + ",".join(["{}"] * 300_000) + '],"correlationId":"b"}')
_NESTED = message('{"path":"soak://echo","body":' + "[" * 100_000 + "]" * 100_000 + "}")
_OVERSIZE = b"\x82\xff" + (1 << 30).to_bytes(8) + _KEY + b"x" * 65_536
_LONG = mask_frame(2, b"x" * (2 * 1024 * 1024), _KEY)

Attack = Callable[[Target, str], Awaitable[None]]


async def _pour(link: Link, data: bytes, pause: float = 0.0) -> None:
    """Writes the same again and again, as fast as the server takes it."""
    while link.alive:
        await link.writable.wait()
        link.write(data)
        await asyncio.sleep(pause)


async def flood(target: Target, source: str) -> None:
    """Requests without end, replies read and thrown away."""
    await _pour(await dial(target, source), _FLOOD)


async def deaf(target: Target, source: str) -> None:
    """Asks for much and never reads."""
    link = await dial(target, source)
    link.stop_reading()
    await _pour(link, _LARGE)


async def slowloris(target: Target, source: str) -> None:
    """A handshake, one byte at a time."""
    link = await dial(target, source, head=b"")
    for at in range(len(HEAD)):
        if not link.alive:
            break
        link.write(HEAD[at : at + 1])
        await asyncio.sleep(0.25)
    link.drop()


async def drip(target: Target, source: str) -> None:
    """A message in fragments of one byte that never ends, and now and then thousands of empty ones."""
    link = await dial(target, source)
    link.write(mask_frame(1, b"{", _KEY, False))
    await _pour(link, mask_frame(0, b" ", _KEY, False) * 5 + (_EMPTY if random.random() < 0.3 else b""), 0.05)


async def pings(target: Target, source: str) -> None:
    """Pings without end; the pongs are not read."""
    link = await dial(target, source)
    link.stop_reading()
    await _pour(link, _PINGS)


async def oversize(target: Target, source: str) -> None:
    """Frames and messages that are too large."""
    link = await dial(target, source)
    link.write(random.choice((_OVERSIZE, _LONG)))
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await link.closed
    link.drop()


async def bomb(target: Target, source: str) -> None:
    """A megabyte that becomes much more when it is decoded, and nesting without end."""
    link = await dial(target, source)
    await _pour(link, random.choice((_BOMB, _NESTED)), 0.5)


async def reset(target: Target, source: str) -> None:
    """Asks, and is gone by RST before the answer."""
    link = await dial(target, source)
    link.write(_FLOOD[: random.randrange(len(_FLOOD))])
    await asyncio.sleep(random.random() * 0.02)
    link.drop(reset=True)
    await asyncio.sleep(0.1)


ATTACKS: dict[str, Attack] = {
    each.__name__: each for each in (flood, deaf, slowloris, drip, pings, oversize, bomb, reset)
}


async def attack(target: Target, clients: int, names: Sequence[str] = ()) -> None:
    """That many attackers, as many of each kind (of all, or of those named) as goes, until cancelled."""
    addresses = Addresses(66)
    kinds = [ATTACKS[name] for name in names or ATTACKS]
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_again(kinds[number % len(kinds)], target, addresses.next()))


async def _again(kind: Attack, target: Target, source: str) -> None:
    while True:
        with suppress(OSError):
            await kind(target, source)
        await asyncio.sleep(0.2 + random.random() * 0.2)


async def _until_stopped(target: Target, clients: int, names: Sequence[str]) -> None:
    task = asyncio.create_task(attack(target, clients, names))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile clients")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", default=(), choices=tuple(ATTACKS))
    given = parser.parse_args()
    random.seed(1)
    yield_core()  # what is measured is the server
    uvloop.run(_until_stopped(("127.0.0.1", given.port), given.clients, given.kinds))


if __name__ == "__main__":
    main()
