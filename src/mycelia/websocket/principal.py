"""The rights of a connection, as its `connect` handler wrote them down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["ConnectionPrincipal"]

_NAMES = ("userId", "user_id", "permissions")


class ConnectionPrincipal:
    """Reads `userId` (or `user_id`) and `permissions` from the metadata, anew each time."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    @staticmethod
    def known(metadata: Mapping[str, Any]) -> bool:
        """Whether the metadata says anything about who this is."""
        return any(name in metadata for name in _NAMES)

    @property
    def id(self) -> str:
        return str(self._metadata.get("userId", self._metadata.get("user_id", "")))

    @property
    def permissions(self) -> Collection[str]:
        """What is there as a collection; anything else (a text above all) gives no rights."""
        given = self._metadata.get("permissions", ())
        return given if isinstance(given, Collection) and not isinstance(given, str) else ()
