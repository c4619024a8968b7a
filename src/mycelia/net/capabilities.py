"""What a configuration asks of an engine that not every engine can do; alike for HTTP and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from mycelia.errors import ConfigError

__all__ = ["PLACES", "Asked", "check_asked"]

PLACES: Mapping[str, str] = {
    "addresses": "listen on several addresses",
    "tls": "encrypt",
    "unix_socket": "listen in the file system",
    "listen": "listen on a port of its own",
}
"""The abilities that are about where an engine listens, as they follow "can"."""


class Asked(NamedTuple):
    """An ability, the key of the section that asks for it, and whether it does."""

    ability: str
    key: str
    asked: bool


def check_asked(
    name: str,
    able: Collection[str],
    asked: Iterable[Asked],
    words: Mapping[str, str],
    engines_that: Callable[[str], Sequence[str]],
) -> None:
    """Raises ConfigError for the first thing that is asked and that the engine `name` is not able to do.

    It says so in the words of the ability, and which engines can.
    """
    for ability, key, is_asked in asked:
        if is_asked and ability not in able:
            *some, last = engines_that(ability)
            others = f"{', '.join(some)} and {last}" if some else last
            raise ConfigError(key, f"{name} cannot {words[ability]}; {others} can")
