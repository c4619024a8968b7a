"""SockJS 0.3.3: frames, and what clients send.

To the client go `o` (open), `h` (heartbeat), `a[…]` (messages, each a JSON string) and `c[code,"reason"]` (the end).
From it come JSON arrays of strings. How a transport wraps frames is in `sockjs_styles`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from msgspec import DecodeError, ValidationError, json

from mycelia.errors import MyceliaError
from mycelia.protocol.wire.codes import Close

__all__ = [
    "HEARTBEAT",
    "MESSAGES_LIMIT",
    "OPEN",
    "PayloadFault",
    "Quoter",
    "closing_frame",
    "is_callback",
    "message_frame",
    "quote",
    "read_frame",
    "read_payload",
    "script",
]

OPEN: Final = b"o"
HEARTBEAT: Final = b"h"
MESSAGES_LIMIT: Final = 4096  # in one payload

# What browsers have been seen to change or to drop on its way. Control characters are escaped in any JSON.
_MANGLED: Final = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]")
_CALLBACK: Final = re.compile(r"[A-Za-z0-9_.]{1,128}")
_strings = json.Decoder(list[str]).decode
_string_or_strings = json.Decoder(list[str] | str).decode


class PayloadFault(MyceliaError):
    """What the client sent is no payload: the text and status for its request, the code for its WebSocket."""

    blame = "remote"

    def __init__(self, text: str, status: int = 500, close_code: int = Close.INVALID_DATA) -> None:
        self.text, self.status, self.close_code = text, status, int(close_code)
        super().__init__(text)


# -- to the client -----------------------------------------------------------------------------------------


def quote(text: str) -> bytes:
    """The JSON string that every browser hands over unchanged."""
    quoted = json.encode(text)
    if text.isascii() or _MANGLED.search(text) is None:
        return quoted
    return _MANGLED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted.decode()).encode()


class Quoter:
    """Quotes messages; what is sent to many in a row is quoted once. SockJS has no binary: bytes go as base64."""

    __slots__ = ("_last", "_quoted")

    def __init__(self) -> None:
        self._last, self._quoted = b"", b'""'

    def __call__(self, payload: bytes, binary: bool) -> bytes:
        if payload is not self._last or binary:
            text = b64encode(payload).decode() if binary else payload.decode()
            quoted = quote(text)
            if binary:
                return quoted
            self._last, self._quoted = payload, quoted
        return self._quoted


def message_frame(quoted: Iterable[bytes]) -> bytes:
    """The frame of messages that are quoted."""
    return b"a[" + b",".join(quoted) + b"]"


def closing_frame(code: int, reason: str) -> bytes:
    """The frame that says why it is over."""
    return b"c[%d,%b]" % (code, quote(reason))


def script(frame: bytes) -> bytes:
    """A frame as a string of JavaScript, which no tag in a message can end where it stands in a page."""
    return json.encode(frame.decode()).replace(b"<", b"\\u003c")


# -- from the client ---------------------------------------------------------------------------------------


def is_callback(name: str) -> bool:
    """Whether a name may stand in a script: anything else might be one."""
    return _CALLBACK.fullmatch(name) is not None


def read_payload(body: bytes) -> list[bytes]:
    """The messages in the body of a request. Raises PayloadFault."""
    if not body:
        raise PayloadFault("Payload expected.")
    try:
        return _checked(_strings(body))
    except ValidationError:
        raise PayloadFault("Payload expected.") from None
    except (DecodeError, UnicodeDecodeError):
        raise PayloadFault("Broken JSON encoding.") from None


def read_frame(text: bytes) -> list[bytes]:
    """The messages in a message of a WebSocket: none, an array of them, or a single one. Raises PayloadFault."""
    if not text:
        return []
    try:
        found = _string_or_strings(text)
    except (DecodeError, UnicodeDecodeError):
        raise PayloadFault("Broken JSON encoding.") from None
    return _checked([found] if isinstance(found, str) else found)


def _checked(messages: list[str]) -> list[bytes]:
    if len(messages) > MESSAGES_LIMIT:
        raise PayloadFault(f"Too many messages: at most {MESSAGES_LIMIT}.", 413, Close.MESSAGE_TOO_BIG)
    return [message.encode() for message in messages]
