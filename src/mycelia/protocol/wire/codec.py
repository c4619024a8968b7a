"""What a codec must offer, and where codecs are found.

A third party adds one by an entry point of the group `mycelia.codecs`; it names an object with the members of
`Codec`, or a class or function that makes one without arguments. It is loaded when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from mycelia.errors import ConfigError
from mycelia.protocol.wire.envelope import Envelope
from mycelia.protocol.wire.json import JsonCodec
from mycelia.protocol.wire.msgpack import MsgpackCodec

__all__ = ["CODECS", "GROUP", "CanSkim", "Codec", "codec", "subprotocols"]

GROUP = "mycelia.codecs"


@runtime_checkable
class Codec(Protocol):
    """Turns messages into envelopes and back; has no state, so one object serves every connection."""

    @property
    def name(self) -> str: ...

    @property
    def binary(self) -> bool:
        """Whether its messages are binary frames."""
        ...

    @property
    def subprotocol(self) -> str | None:
        """The WebSocket subprotocol that selects it; None when a handshake cannot."""
        ...

    def decode(self, payload: bytes) -> Envelope:
        """The envelope in a message; raises `ProtocolFault`."""
        ...

    def decode_value(self, payload: bytes) -> object:
        """The plain value in a message, inside the data model; raises `ProtocolFault`."""
        ...

    def encode(self, envelope: Envelope) -> bytes:
        """The message for an envelope; raises `InvalidMessage` naming what cannot be encoded."""
        ...

    def encode_value(self, value: object) -> bytes:
        """The message for a plain value; raises `InvalidMessage` naming what cannot be encoded."""
        ...


@runtime_checkable
class CanSkim(Protocol):
    """A codec that can tell what a large message is about before it is decoded; one that cannot decodes it whole."""

    def crowded(self, payload: bytes, most: int) -> bool:
        """Whether it holds more than `most` values; an empty container counts twice."""
        ...

    def skim(self, payload: bytes) -> Envelope:
        """The envelope without its contents; of what is none, a request without a path. Raises nothing."""
        ...


CODECS: Mapping[str, Codec] = MappingProxyType({"json": JsonCodec(), "msgpack": MsgpackCodec()})
"""The codecs that come with Mycelia, by name."""


def codec(name: str) -> Codec:
    """The codec of that name: one of ours, else one of an entry point; unknown names raise `ConfigError`."""
    known = CODECS.get(name)
    if known is not None:
        return known
    # Reading the metadata of every installed distribution is slow; only foreign names pay for it.
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    for entry in found:
        if entry.name == name:
            return _made(name, entry.load())
    names = sorted({*CODECS, *found.names})
    raise ConfigError("codec", f"expected one of {', '.join(names)}, got {name!r}")


def subprotocols(names: Iterable[str] = ("json", "msgpack")) -> Mapping[str, Codec]:
    """The named codecs by the subprotocol that selects them, in the order of the names."""
    codecs = (codec(name) for name in names)
    return {found.subprotocol: found for found in codecs if found.subprotocol is not None}


def _made(name: str, target: object) -> Codec:
    made = target() if callable(target) else target
    if not isinstance(made, Codec):
        raise ConfigError("codec", f"the entry point {name!r} of {GROUP} gives no codec but {type(made).__name__}")
    return made
