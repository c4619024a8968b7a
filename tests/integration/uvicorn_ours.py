"""`python -m tests.integration.uvicorn_ours --host H --port P MODULE:FACTORY`: uvicorn with our WebSockets."""

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
    parser.add_argument("factory")
    given = parser.parse_args()
    module, _, name = given.factory.partition(":")
    application: Any = getattr(import_module(module), name)()
    uvicorn.run(application, host=given.host, port=given.port, log_level="warning", ws=application.websockets)


if __name__ == "__main__":
    main()
