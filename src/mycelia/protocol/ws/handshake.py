"""The opening handshake of RFC 6455 §4: checks of the client's half, and the server's 101 response.

`read_request` of `mycelia.protocol.http.request` parses the request head first. A rejection is a `BadHandshake`. Its
message names what was expected and shows nothing that the client sent.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import sha1

from mycelia.protocol.http.credentials import BEARER_PREFIX
from mycelia.protocol.http.request import BadHandshake, Handshake, encode_headers, is_token

__all__ = [
    "SUBPROTOCOL_LIMIT",
    "VERSION",
    "accept_response",
    "check_subprotocols",
    "check_upgrade",
]

VERSION = "13"
SUBPROTOCOL_LIMIT = 32

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_UPGRADE = ("Upgrade", "websocket")
_VERSION_HEADER = ("Sec-WebSocket-Version", VERSION)
# Headers that the 101 response sets itself. A second value could change its meaning for the client.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
        "upgrade",
    }
)


def check_upgrade(handshake: Handshake) -> None:
    """Raise BadHandshake unless a request is the client's half of an RFC 6455 §4.1 handshake.

    The `admit` handler and the engine both call this. The second call returns at once.
    """
    if handshake._upgrade_checked:
        return
    lines = handshake.headers.lines
    if handshake.method != "GET":
        raise BadHandshake(405, "expected GET for a WebSocket", (("Allow", "GET"),))
    if not _lists(lines("upgrade"), "websocket"):
        raise BadHandshake(426, "expected a WebSocket handshake: `Upgrade: websocket`", (_UPGRADE, _VERSION_HEADER))
    if not _lists(lines("connection"), "upgrade"):
        raise BadHandshake(
            426,
            "expected `Connection: Upgrade` beside `Upgrade: websocket`; a proxy may have removed it",
            (_UPGRADE, _VERSION_HEADER),
        )
    if lines("sec-websocket-version") != (VERSION,):
        raise BadHandshake(426, f"expected `Sec-WebSocket-Version: {VERSION}`", (_UPGRADE, _VERSION_HEADER))
    key = lines("sec-websocket-key")
    if len(key) != 1:
        raise BadHandshake(400, f"expected exactly one Sec-WebSocket-Key header, got {len(key)}")
    if not _is_key(key[0]):
        raise BadHandshake(400, "expected a Sec-WebSocket-Key that is 16 bytes in base64")
    object.__setattr__(handshake, "_upgrade_checked", True)


def check_subprotocols(handshake: Handshake) -> None:
    """Raise BadHandshake unless the offered subprotocols are distinct tokens, and not too many (RFC 6455 §4.1)."""
    offered = handshake.subprotocols
    if len(offered) > SUBPROTOCOL_LIMIT:
        raise BadHandshake(400, f"expected at most {SUBPROTOCOL_LIMIT} subprotocols, got {len(offered)}")
    if len(set(offered)) != len(offered) or not all(map(is_token, offered)):
        raise BadHandshake(400, "expected each subprotocol to be a token and to be offered once")


def accept_response(
    handshake: Handshake,
    subprotocol: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    extensions: str | None = None,
) -> bytes:
    """Return the finished 101 response of RFC 6455 §4.2.2 for a handshake that passed `check_upgrade`.

    Args:
        handshake: The request.
        subprotocol: The chosen subprotocol.
        headers: Headers to add.
        extensions: The value of Sec-WebSocket-Extensions.

    Raises:
        ValueError: The subprotocol was not offered or carries a credential, or a header is malformed or one that this
            response sets itself. These are mistakes of the application, never of the client.
    """
    digest = sha1((handshake.key or "").encode("latin-1") + _GUID, usedforsecurity=False).digest()
    extra = b""
    if subprotocol is not None:
        if subprotocol.startswith(BEARER_PREFIX) or subprotocol not in handshake.subprotocols:
            raise ValueError("expected a subprotocol that the client offered, and not its credential")
        extra = b"Sec-WebSocket-Protocol: %s\r\n" % subprotocol.encode("latin-1")
    if extensions is not None:
        extra += b"Sec-WebSocket-Extensions: %s\r\n" % extensions.encode("latin-1")
    if headers:
        own = [name for name, _ in headers if name.lower() in _OWN_HEADERS]
        if own:
            raise ValueError(f"header {own[0]!r}: the 101 response sets it itself")
        extra += encode_headers(headers)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n%s\r\n" % (b64encode(digest), extra)
    )


def _lists(lines: tuple[str, ...], wanted: str) -> bool:
    joined = ",".join(lines).lower()
    return joined == wanted or wanted in [item.strip(" \t") for item in joined.split(",")]


def _is_key(text: str) -> bool:
    try:
        return len(text) == 24 and len(a2b_base64(text, strict_mode=True)) == 16
    except (Base64Error, ValueError):
        return False
