"""A payload echo over the bare engine seam, for protocol suites and load tools.

`python -m mycelia.testing.echo --engine picows --port 9001 --max-size 67108864` listens on 127.0.0.1 and
answers every message with itself. There is no kernel above it: what a suite finds here is the engine's. `--engine
asgi` is served by uvicorn. With `--engine engineio`, `socketio` or `sockjs` it is what the official tests of these
protocols expect, under uvicorn too.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from mycelia.errors import EngineError
from mycelia.protocol.http.request import Handshake
from mycelia.protocol.ws.deflate import DeflateSettings, Negotiator
from mycelia.testing.asgi import application
from mycelia.testing.lifespan import serve_app
from mycelia.testing.peers import EchoPeer
from mycelia.testing.protocols import PROTOCOLS, serve_protocol
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import make_engine
from mycelia.transports.seam import Accept

__all__ = ["EchoPeer", "main", "serve"]


async def serve(engine_name: str, port: int, max_bytes: int, deflate: bool = False) -> None:
    """Serves until SIGINT or SIGTERM; with `deflate` for clients that compress, with everything that they offer.

    What the `asgi` engine echoes uvicorn reads and writes, and compresses.
    """
    if engine_name == "asgi":
        settings = {"ws": "websockets-sansio", "ws_max_size": max_bytes, "ws_per_message_deflate": deflate}
        await serve_app(application(max_bytes), port, partial(_tell, engine_name), **settings)
        return
    engine = make_engine(engine_name)
    everything = DeflateSettings(server_context=True, client_context=True, threshold_bytes=0)
    negotiator = Negotiator(everything) if deflate else None
    if deflate and "deflate" not in engine.capabilities:
        raise EngineError(f"the {engine_name} engine cannot compress")

    def admit(request: Handshake) -> Accept:
        offered = request.headers.lines("sec-websocket-extensions")
        return Accept(EchoPeer(), compression=negotiator.agree(offered) if negotiator is not None else None)

    engine.on("admit", admit)
    await engine.start(EngineOptions(port=port, max_message_bytes=max_bytes))
    address = engine.address()
    if address is None:
        await engine.stop()
        raise EngineError(f"the {engine_name} engine has no port that another program could connect to")
    stopped = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stopped.set)
    _tell(engine_name, address[1])
    await stopped.wait()
    await engine.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m mycelia.testing.echo", description="Echo every message.")
    known = f"engine type (default: picows), or {' or '.join(PROTOCOLS)} for that protocol's own tests"
    parser.add_argument("--engine", default="picows", help=known)
    parser.add_argument("--port", type=int, default=9001, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--deflate", action="store_true", help="compress for clients that offer it (RFC 7692)")
    parser.add_argument("--max-size", type=int, default=1024 * 1024, help="largest message in bytes")
    given = parser.parse_args(arguments)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    with runner, suppress(KeyboardInterrupt):  # which uvicorn raises anew when it has stopped
        try:
            if given.engine in PROTOCOLS:
                runner.run(serve_protocol(given.engine, given.port, partial(_tell, given.engine)))
                return
            runner.run(serve(given.engine, given.port, given.max_size, given.deflate))
        except EngineError as error:
            parser.error(str(error))


def _tell(engine_name: str, port: int) -> None:
    print(f"echo on ws://127.0.0.1:{port}/ with {engine_name}", flush=True)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


if __name__ == "__main__":
    main(sys.argv[1:])
