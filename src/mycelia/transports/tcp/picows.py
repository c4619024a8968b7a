"""The default engine: picows reads frames, on uvloop where it is installed."""

from __future__ import annotations

from typing import ClassVar

from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.picows_reader import PicowsConnection, PicowsReaders
from mycelia.transports.tcp.listener import ListeningEngine

__all__ = ["PicowsEngine"]


class PicowsEngine(ListeningEngine):
    """The engine for `type: "picows"` (alias `uws`)."""

    name: ClassVar[str] = "picows"
    connection_type: ClassVar[type[StreamConnection]] = PicowsConnection

    def make_readers(self, options: EngineOptions) -> PicowsReaders:
        return PicowsReaders(options.max_message_bytes)
