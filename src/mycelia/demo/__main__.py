"""`python -m mycelia.demo`: serves the demo on HOST and PORT (default 127.0.0.1:8080) until it is stopped.

With HTTP_PORT, a second port, Socket.IO and SockJS clients see the same chat there.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys

import uvloop

from mycelia.demo.app import address_of, make_system

DRAIN = 10.0  # seconds for the clients to be told and to go


def read_port(text: str, name: str = "PORT") -> int:
    """The port that `text` names; exits with one line when it names none."""
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    sys.exit(f"{name}: expected a whole number from 0 to 65535, got {text!r}")


async def run(host: str, port: int, beside: int | None = None) -> None:
    """Serves until SIGINT or SIGTERM; then every client is told to come back, and the second signal stops at once."""
    system, sockets = make_system(host, port, beside)

    def tell() -> None:
        address = address_of(sockets, host)
        print(f"Open {address} in two tabs and let them talk to each other. Ctrl-C stops it.", flush=True)

    await system.run_until_signal(DRAIN, tell)


def main() -> None:
    """Runs the demo; a place that cannot be listened on is one line and exit status 1, no traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host, port = os.environ.get("HOST") or "127.0.0.1", read_port(os.environ.get("PORT") or "8080")
    beside = read_port(given, "HTTP_PORT") if (given := os.environ.get("HTTP_PORT")) else None
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(host, port, beside))
    except OSError as error:
        problem = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror
        where, names = f"{host}:{port}", "HOST or PORT"
        if beside is not None:  # either may be the one
            where, names = f"{where} and {host}:{beside}", "HOST, PORT or HTTP_PORT"
        sys.exit(f"cannot listen on {where}: {problem}. Set {names} to another one.")


if __name__ == "__main__":
    main()
