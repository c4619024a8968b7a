"""What an engine may be able to do besides what every engine must.

An engine declares the names of its abilities in `abilities`, a set. Configuration that needs one which an engine lacks
is refused when the subsystem is built, and the engine suite asks only for those that are declared.
"""

from __future__ import annotations

from collections.abc import Mapping

from mycelia.net.capabilities import PLACES

__all__ = ["ABILITIES", "WIRE"]

ABILITIES: Mapping[str, str] = {
    # what a configuration may ask for
    **PLACES,
    "deflate": "compress",
    "pages": "answer requests for other paths",
    "subprotocols": "speak subprotocols of the application's",
    # what the engine suite asks for
    "accept": "turn connections away at the accept, and end those whose handshake does not come",
    "head": "judge the head of a request, as it was sent",
    "headers": "answer a handshake with headers of the gate's",
    "frames": "judge frames, and show control frames and what is unusual",
    "payload": "carry any payload as it is",
    "closing": "wait for the answer to its Close, and tell of it",
    "codes": "say with which code and reason it closes",
    "close_codes": "tell with which code and reason a client closed",
    "reset": "end a connection without a Close",
}
"""Every ability there is, as it follows "can"."""

WIRE = frozenset(
    {
        *("accept", "close_codes", "closing", "codes", "frames", "head", "headers"),
        *("pages", "payload", "reset", "subprotocols"),
    }
)
"""What an engine can that reads and writes the bytes of its connections itself."""
