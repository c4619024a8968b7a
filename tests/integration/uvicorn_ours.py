"""`python -m tests.integration.uvicorn_ours --host H --port P --http h11 MODULE:FACTORY`: uvicorn, our WebSockets."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

import uvicorn

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--http", choices=("h11", "httptools"))
    parser.add_argument("factory")
    given = parser.parse_args()
    module, _, name = given.factory.partition(":")
    application: Any = getattr(import_module(module), name)()
    where = {"host": given.host, "port": given.port, "http": given.http}
    uvicorn.run(application, log_level="warning", ws=application.websockets, **where)


if __name__ == "__main__":
    main()
