"""Where a server listens, as a section of a configuration says it: on TCP addresses, or in the file system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mycelia.errors import ConfigError
from mycelia.net.capabilities import Asked
from mycelia.net.sockets import authority

__all__ = ["Place", "asked_of_place", "check_one_place", "check_place", "urls_of"]

_ONE = "it listens in one place"


class Place(Protocol):
    """The keys of a section that say where it listens."""

    @property
    def host(self) -> str | tuple[str, ...]: ...

    @property
    def port(self) -> int: ...

    @property
    def unix_socket(self) -> str | None: ...

    @property
    def socket_mode(self) -> str: ...

    @property
    def tls(self) -> object: ...


def check_one_place(given: Mapping[str, Any]) -> None:
    """Raises ConfigError where a section, as it is written, names a socket in the file system and a host or a port.

    That it does so even where these are the usual ones only the mapping shows.
    """
    for key in ("unix_socket", "unixSocket"):
        if given.get(key) is not None and (other := next((each for each in ("host", "port") if each in given), None)):
            raise ConfigError(key, f"given beside {other}; {_ONE}")


def check_place(section: Place, host: str, port: int) -> None:
    """Raises ConfigError for what can be no place. `host` and `port` are the usual ones; a list becomes a tuple."""
    given: Any = section.host
    hosts: Any = (given,) if isinstance(given, str) else given
    if not isinstance(hosts, Sequence) or not hosts or not all(isinstance(each, str) and each for each in hosts):
        raise ConfigError("host", f"expected an address or a list of addresses, got {given!r}")
    if not isinstance(given, str):
        object.__setattr__(section, "host", tuple(hosts))
    if (path := section.unix_socket) is not None:
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigError("unix_socket", f"expected the path of a socket, got {path!r}")
        if given != host or section.port != port:
            raise ConfigError("unix_socket", f"given beside host or port; {_ONE}")
    mode = section.socket_mode
    if not mode or len(mode.lstrip("0")) > 3 or not mode.isascii() or set(mode) - set("01234567"):
        raise ConfigError("socket_mode", f"expected permissions in octal digits such as '660', got {mode!r}")


def asked_of_place(section: Place, host: str, port: int, *, owned: bool) -> tuple[Asked, ...]:
    """What a place asks of an engine; with `owned` also a port of its own, where it is not the usual one."""
    several = not isinstance(section.host, str) and len(section.host) > 1
    return (
        Asked("tls", "tls", section.tls is not None),
        Asked("unix_socket", "unix_socket", section.unix_socket is not None),
        Asked("addresses", "host", several),
        Asked("listen", "host", owned and section.host != host),
        Asked("listen", "port", owned and section.port != port),
    )


def urls_of(scheme: str, section: Place, addresses: Iterable[tuple[str, int]], path: str = "") -> list[str]:
    """Where clients find what listens there: `wss://192.0.2.1:443/ws`, `ws+unix:/run/app.sock:/ws`."""
    if section.tls is not None:
        scheme += "s"
    if section.unix_socket is not None:
        return [f"{scheme}+unix:{section.unix_socket}{f':{path}' if path else ''}"]
    return [f"{scheme}://{authority(host, port)}{path}" for host, port in addresses]
