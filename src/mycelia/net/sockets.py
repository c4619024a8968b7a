"""Listening sockets: of TCP addresses, one or several, IPv4 and IPv6, and of a path in the file system.

A socket for IPv6 is for IPv6 only, whatever the system's default: who wants both families names both addresses, so
that an IPv4 client is never seen as `::ffff:192.0.2.1`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["SocketFile", "authority", "bind_sockets"]

_TRIES = 8  # free ports to try where several addresses shall have the same
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a machine without IPv6 may know one for `localhost`
_Address = tuple[int, tuple[Any, ...]]  # a family, and what `bind` takes
_PATIENCE = 1.0  # seconds in which somebody who listens on a path can be reached


class SocketFile:
    """A socket that clients find in the file system, and its file."""

    def __init__(self, path: str, mode: int) -> None:
        """Binds. A file that nobody listens on is replaced; OSError for one that is in use or is no socket."""
        self._path = os.path.abspath(path)  # where it stays when the program goes to another directory
        _make_way(path)
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.bind(path)  # as it was given: what is relative may be short enough
            os.chmod(path, mode)  # nobody can connect before it listens
            self._inode = os.stat(path).st_ino
        except OSError as fault:
            self.sock.close()
            # Python itself refuses a path that is too long, without a number.
            raise OSError(fault.errno or errno.ENAMETOOLONG, _problem(repr(path), fault)) from None

    def remove(self) -> None:
        """Removes the file, unless somebody has put another in its place; one that cannot be removed stays, as after a
        crash.

        To be called while the socket is open. When it is closed, the file of whoever replaces ours gets its number.
        """
        with suppress(OSError):
            if os.lstat(self._path).st_ino == self._inode:
                os.unlink(self._path)
                self._inode = -1


def _make_way(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, f"expected a path without a file, or a socket that nobody uses, got {path!r}")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # whoever listened on it did not end well
            return
        except PermissionError as fault:
            raise OSError(fault.errno, _problem(repr(path), fault)) from None
        except OSError:
            pass  # busy, or not for us: somebody listens
    raise OSError(errno.EADDRINUSE, f"expected a socket that nobody uses, but somebody listens on {path!r}")


async def bind_sockets(host: str | Sequence[str], port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on every TCP address, all or none; with `port` 0 all on the same free port.

    Of the several addresses of one name those that this machine does not have are left out. OSError, which names the
    place, where one is taken, is not ours, or cannot be resolved.
    """
    found = await _resolve((host,) if isinstance(host, str) else host, port)
    for left in reversed(range(_TRIES if port == 0 else 1)):
        try:
            return _bind_all(found, backlog)
        except OSError as fault:
            if fault.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError("unreachable")


async def _resolve(hosts: Sequence[str], port: int) -> list[list[_Address]]:
    """The addresses of each host."""
    found: list[list[_Address]] = []
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    for host in hosts:
        try:  # not by the loop: uvloop forgets the zone of `fe80::1%eth0`
            answers = await asyncio.to_thread(socket.getaddrinfo, host, port, type=kind, flags=flags)
        except socket.gaierror as fault:
            raise socket.gaierror(fault.errno, _problem(host, fault)) from None
        except UnicodeError:  # a label of it is empty or too long (RFC 1035 §2.3.4)
            raise socket.gaierror(socket.EAI_NONAME, f"cannot listen on {host}: no name of a host") from None
        families = (socket.AF_INET, socket.AF_INET6)
        found.append([(family, address) for family, _, _, _, address in answers if family in families])
    return found


def _bind_all(found: Sequence[Sequence[_Address]], backlog: int) -> list[socket.socket]:
    """A socket for every address, once; of each host for one address at the least."""
    made: dict[_Address, socket.socket] = {}
    try:
        for addresses in found:
            absent = None
            for each in addresses:
                family, (host, port, *rest) = each
                if each in made:
                    continue
                port = port or (next(iter(made.values())).getsockname()[1] if made else 0)
                try:
                    made[each] = _bind(family, (host, port, *rest), backlog)
                except OSError as fault:
                    if fault.errno not in _ABSENT:
                        raise
                    absent = fault
            if absent is not None and not any(each in made for each in addresses):
                raise absent
    except BaseException:
        for sock in made.values():
            sock.close()
        raise
    return [*made.values()]


def _bind(family: int, address: tuple[Any, ...], backlog: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY by it
        try:
            if sys.platform != "win32":  # there it would let two programs share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(backlog)  # `0.0.0.0` and `127.0.0.1` can both be bound, but not listen both
        except BaseException:
            sock.close()
            raise
    except OSError as fault:
        raise OSError(fault.errno, _problem(authority(str(address[0]), int(address[1])), fault)) from None
    return sock


def _problem(where: str, fault: OSError) -> str:
    return f"cannot listen on {where}: {fault.strerror or fault}"


def authority(host: str, port: int) -> str:
    """An address as URLs write it: `192.0.2.1:80`, `[::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
