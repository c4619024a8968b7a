"""The names of what an engine may be able to do besides what every engine must.

An engine declares its capabilities as a set of these names. A configuration that needs a capability which its engine
lacks raises ConfigError when the subsystem is made. The engine suite checks only what an engine declares.
"""

from __future__ import annotations

from collections.abc import Mapping

from mycelia.net.capabilities import PLACES

__all__ = ["CAPABILITIES", "WIRE"]

CAPABILITIES: Mapping[str, str] = {
    # what a configuration may ask for
    **PLACES,
    "deflate": "compress",
    "pages": "answer requests for other paths",
    "subprotocols": "speak subprotocols of the application's",
    # what the engine suite asks for
    "accept": "refuse connections at the accept, and end those whose handshake takes too long",
    "head": "check a request head as the client sent it",
    "headers": "add headers to the response to a handshake",
    "frames": "check frames, and report control frames and unusual frames",
    "payload": "carry any payload unchanged",
    "closing": "wait for the answer to its Close frame, and report it",
    "codes": "send the code and reason of a close",
    "close_codes": "report the code and reason of a client's Close frame",
    "reset": "end a connection without a Close frame",
}
"""All capabilities, each with the words that follow "can" in an error message."""

WIRE = frozenset(
    {
        *("accept", "close_codes", "closing", "codes", "frames", "head", "headers"),
        *("pages", "payload", "reset", "subprotocols"),
    }
)
"""The capabilities of an engine that reads and writes the bytes of its connections itself."""
