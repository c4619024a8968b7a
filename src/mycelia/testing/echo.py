"""An echo over the bare engine seam, for protocol suites and load tools.

`python -m mycelia.testing.echo --engine picows --port 9001 --max-size 67108864` listens on 127.0.0.1 and sends every
message back. No subsystem runs above the engine, so that a failure that a suite finds is a failure of the engine. With
`--engine asgi` uvicorn serves it. With `--engine engineio`, `socketio` or `sockjs` it is the server that the official
tests of this protocol expect, under uvicorn too.
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
from mycelia.testing.asgi_server import serve_app
from mycelia.testing.peers import EchoPeer
from mycelia.testing.protocol_servers.servers import PROTOCOLS, serve_protocol
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import make_engine
from mycelia.transports.seam import Accept

__all__ = ["EchoPeer", "main", "serve"]


async def serve(engine_name: str, port: int, max_bytes: int, deflate: bool = False) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        engine_name: The type of the engine. For `asgi`, uvicorn reads, writes and compresses.
        port: The port on 127.0.0.1, or 0 for a free one.
        max_bytes: The largest message in bytes.
        deflate: True to compress for clients that offer it, with all parameters that they offer.

    Raises:
        EngineError: The engine is unknown, cannot compress, or has no port; or uvicorn is not installed.
    """
    if engine_name == "asgi":
        settings = {"ws": "websockets-sansio", "ws_max_size": max_bytes, "ws_per_message_deflate": deflate}
        await serve_app(application(max_bytes), port, partial(_report, engine_name), **settings)
        return
    engine = make_engine(engine_name)
    all_parameters = DeflateSettings(server_context=True, client_context=True, threshold_bytes=0)
    negotiator = Negotiator(all_parameters) if deflate else None
    if deflate and "deflate" not in engine.capabilities:
        raise EngineError(f"the {engine_name} engine cannot compress; leave out --deflate")

    def admit(request: Handshake) -> Accept:
        offered = request.headers.lines("sec-websocket-extensions")
        return Accept(EchoPeer(), compression=negotiator.agree(offered) if negotiator is not None else None)

    engine.on("admit", admit)
    await engine.start(EngineOptions(port=port, max_message_bytes=max_bytes))
    address = engine.address()
    if address is None:
        await engine.stop()
        raise EngineError(f"the {engine_name} engine has no port that another program can connect to")
    stopped = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    _report(engine_name, address[1])
    await stopped.wait()
    await engine.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mycelia.testing.echo", description="Echo every message.")
    known = f"engine type (default: picows), or {' or '.join(PROTOCOLS)} for the official tests of that protocol"
    parser.add_argument("--engine", default="picows", help=known)
    parser.add_argument("--port", type=int, default=9001, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--deflate", action="store_true", help="compress for clients that offer it (RFC 7692)")
    parser.add_argument("--max-size", type=int, default=1024 * 1024, help="largest message in bytes")
    given = parser.parse_args(arguments)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    with runner, suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped
        try:
            if given.engine in PROTOCOLS:
                runner.run(serve_protocol(given.engine, given.port, partial(_report, given.engine)))
                return
            runner.run(serve(given.engine, given.port, given.max_size, given.deflate))
        except EngineError as error:
            parser.error(str(error))


def _report(engine_name: str, port: int) -> None:
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
