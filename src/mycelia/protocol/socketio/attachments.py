"""The binary attachments of Socket.IO packets: placeholders in the JSON, and the joined form of a packet.

On the wire a packet is one text message, followed by one binary message for each attachment. The seam carries single
messages, so there a packet is one bytes object: its text, its attachments, and the length of each attachment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mycelia.errors import InvalidMessage
from mycelia.protocol.engineio.packets import PacketFault

__all__ = ["MAIN", "EngineioMessage", "extract_binary", "holds_bytes", "join", "restore_binary", "separate", "split"]

MAIN: Final = "/"
"""The main namespace, which packets do not name."""

EngineioMessage = tuple[bytes, bool]
"""One message of an Engine.IO session: its payload, and True if it is binary."""

_PLACEHOLDER: Final = "_placeholder"
_CONTAINERS: Final = frozenset({dict, list, tuple})
_LENGTH_BYTES: Final = 4


# -- the joined form ---------------------------------------------------------------------------------------


def join(messages: Sequence[EngineioMessage]) -> bytes:
    """Return the messages of one packet as one bytes object."""
    text = messages[0][0]
    if len(messages) == 1:
        return text
    attachments = [payload for payload, _ in messages[1:]]
    return b"".join((text, *attachments, *(len(each).to_bytes(_LENGTH_BYTES) for each in attachments)))


def separate(payload: bytes) -> tuple[bytes, list[bytes]]:
    """Return the text and the attachments of a packet in joined form."""
    if payload[:1] not in (b"5", b"6"):
        return payload, []
    number = int(payload[1 : payload.index(b"-")])
    end = len(payload) - _LENGTH_BYTES * number
    lengths = [
        int.from_bytes(payload[end + at * _LENGTH_BYTES : end + (at + 1) * _LENGTH_BYTES]) for at in range(number)
    ]
    start = at = end - sum(lengths)
    attachments = []
    for length in lengths:
        attachments.append(payload[at : at + length])
        at += length
    return payload[:start], attachments


def split(payload: bytes, namespace: str = MAIN) -> list[EngineioMessage]:
    """Return the messages of a packet in joined form, addressed to a namespace."""
    text, attachments = separate(payload)
    if namespace != MAIN:
        at = text.index(b"-") + 1 if attachments else 1
        text = b"%b%b,%b" % (text[:at], namespace.encode(), text[at:])
    return [(text, False), *((each, True) for each in attachments)]


# -- placeholders ------------------------------------------------------------------------------------------


def holds_bytes(value: Any) -> bool:
    """Return True if a value is or contains bytes."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return kind is bytes
    for each in value.values() if kind is dict else value:
        kind = type(each)
        if kind is bytes or (kind in _CONTAINERS and holds_bytes(each)):
            return True
    return False


def extract_binary(value: Any, attachments: list[bytes]) -> Any:
    """Return a value with a placeholder for each bytes object, which is added to `attachments`."""
    if isinstance(value, bytes):
        attachments.append(value)
        return {_PLACEHOLDER: True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [extract_binary(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(_PLACEHOLDER) is True:
        problem = f"expected no object with a true `{_PLACEHOLDER}` beside binary data"
        raise InvalidMessage(f"{problem}: clients would replace it by an attachment")
    return {key: extract_binary(each, attachments) for key, each in value.items()}


def restore_binary(value: Any, attachments: Sequence[bytes]) -> Any:
    """Return a value with every placeholder replaced by its attachment.

    Raises PacketFault unless each attachment has exactly one placeholder.
    """
    missing = set(range(len(attachments)))
    value = _restore(value, attachments, missing)
    if missing:
        raise PacketFault("expected a placeholder for every attachment")
    return value


def _restore(value: Any, attachments: Sequence[bytes], missing: set[int]) -> Any:
    if isinstance(value, list):
        return [_restore(each, attachments, missing) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(_PLACEHOLDER) is True:
        number = value.get("num")
        if type(number) is not int or number not in missing:
            raise PacketFault(f"expected placeholders with each number below {len(attachments)} once")
        missing.remove(number)
        return attachments[number]
    return {key: _restore(each, attachments, missing) for key, each in value.items()}
