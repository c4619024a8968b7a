from __future__ import annotations

import asyncio
import signal
import sys

import pytest
from websockets.asyncio.client import connect

from mycelia.testing.echo import main

PATIENCE = 30.0


@pytest.mark.parametrize(("engine", "says"), [("memory", "has no port"), ("nothing", "known: asgi, memory")])
def test_an_engine_that_cannot_echo_is_explained(engine: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--engine", engine, "--port", "0"])
    assert caught.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["asgi", "picows"])
@pytest.mark.parametrize("deflate", [True, False])
async def test_every_message_comes_back(engine: str, deflate: bool) -> None:
    """On a port of its own choice, which it tells; those of `asgi` under uvicorn, which compresses there."""
    words = ["-m", "mycelia.testing.echo", "--engine", engine, "--port", "0", "--max-size", "70000"]
    words += ["--deflate"] if deflate else []
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            told = (await process.stdout.readline()).decode().split()
            assert told[:2] == ["echo", "on"] and told[-1] == engine
            async with connect(told[2], max_size=None) as client:
                assert bool(client.protocol.extensions) is deflate
                for message in ("x", "\N{SNOWMAN}" * 20_000, b"\x00\xff", b""):
                    await client.send(message)
                    assert await client.recv() == message
                await client.send("x" * 70_001)
                await client.wait_closed()
                assert client.close_code == 1009
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
