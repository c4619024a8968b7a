from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from mycelia.edge.sockets import SocketFile, authority, bind_sockets


async def test_all_addresses_get_the_same_free_port() -> None:
    made = await bind_sockets(("127.0.0.1", "::1", "127.0.0.1"), 0, 5)
    names = [sock.getsockname()[:2] for sock in made]
    for sock in made:
        sock.close()
    assert [host for host, _ in names] == ["127.0.0.1", "::1"] and names[0][1] == names[1][1]


@pytest.mark.parametrize("host", ["192.0.2.1", "host.invalid"])
async def test_an_address_that_is_not_ours_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {host}"):
        await bind_sockets(host, 0, 5)


def test_a_file_has_its_mode_and_is_removed_only_while_it_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    SocketFile(str(path), 0o600).sock.close()  # and is left behind
    made = SocketFile(str(path), 0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    made.sock.close()
    path.rename(tmp_path / "b.sock")
    path.write_text("another's")
    made.remove()
    assert path.exists()
    os.replace(tmp_path / "b.sock", path)
    made.remove()
    made.remove()
    assert not path.exists()


def test_a_file_in_use_and_one_that_is_no_socket_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="somebody listens on") as caught:
            SocketFile(str(path), 0o600)
    assert caught.value.errno == errno.EADDRINUSE
    path.unlink()
    path.write_text("of somebody else")
    with pytest.raises(OSError, match="expected a path without a file"):
        SocketFile(str(path), 0o600)


def test_addresses_as_urls_write_them() -> None:
    assert (authority("192.0.2.1", 80), authority("::1", 80)) == ("192.0.2.1:80", "[::1]:80")
