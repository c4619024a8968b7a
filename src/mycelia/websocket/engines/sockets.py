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

from mycelia.websocket.engines.base import EngineOptions

__all__ = ["SocketFile", "bind_sockets", "place"]

_TRIES = 8  # free ports to try where several addresses shall have the same
_Address = tuple[int, tuple[Any, ...]]  # a family, and what `bind` takes
_PATIENCE = 1.0  # seconds in which somebody who listens on a path can be reached


class SocketFile:
    """A socket that clients find in the file system, and its file."""

    def __init__(self, path: str, mode: int) -> None:
        """Binds. A file that nobody listens on is replaced; OSError for one that is in use or is no socket."""
        self.path = path
        _make_way(path)
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.bind(path)
            os.chmod(path, mode)  # nobody can connect before it listens
            self._inode = os.stat(path).st_ino
        except BaseException:
            self.sock.close()
            raise

    def remove(self) -> None:
        """Removes the file, unless somebody has put another in its place."""
        with suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)


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
        except OSError:
            pass  # busy, or not for us: somebody listens
    raise OSError(errno.EADDRINUSE, f"expected a socket that nobody uses, but somebody listens on {path!r}")


async def bind_sockets(options: EngineOptions) -> list[socket.socket]:
    """Sockets bound to every TCP address of the options, all or none; with `port` 0 all to the same free port."""
    hosts = (options.host,) if isinstance(options.host, str) else options.host
    found = await _resolve(hosts, options.port)
    for left in reversed(range(_TRIES if options.port == 0 and len(found) > 1 else 1)):
        try:
            return _bind_all(found)
        except OSError as fault:
            if fault.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError("unreachable")


async def _resolve(hosts: Sequence[str], port: int) -> list[_Address]:
    loop = asyncio.get_running_loop()
    found: list[_Address] = []
    for host in hosts:
        for family, _, _, _, address in await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if family in (socket.AF_INET, socket.AF_INET6) and (family, address) not in found:
                found.append((family, address))
    return found


def _bind_all(found: Sequence[_Address]) -> list[socket.socket]:
    made: list[socket.socket] = []
    try:
        for family, (host, port, *rest) in found:
            sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY by it
            made.append(sock)
            if sys.platform != "win32":  # there it would let two programs share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port = port or made[0].getsockname()[1]
            try:
                sock.bind((host, port, *rest))
            except OSError as fault:
                problem = f"cannot listen on {place(str(host), int(port))}: {fault.strerror}"
                raise OSError(fault.errno, problem) from None
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


def place(host: str, port: int) -> str:
    """An address as URLs write it: `192.0.2.1:80`, `[::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
