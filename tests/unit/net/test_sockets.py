from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from mycelia.net.sockets import SocketFile, authority, bind_sockets


async def test_all_addresses_get_the_same_free_port() -> None:
    made = await bind_sockets(("127.0.0.1", "::1", "127.0.0.1"), 0, 5)
    names = [sock.getsockname()[:2] for sock in made]
    for sock in made:
        sock.close()
    assert [host for host, _ in names] == ["127.0.0.1", "::1"] and names[0][1] == names[1][1]


@pytest.mark.parametrize("host", ["198.51.100.1", "host.invalid", "host..invalid", "x" * 64 + ".invalid"])
async def test_an_address_that_is_not_ours_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {host}"):
        await bind_sockets(host, 0, 5)


@pytest.mark.every_loop
async def test_an_address_keeps_its_zone(loop_kind: str) -> None:
    _, interface = socket.if_nameindex()[0]
    with pytest.raises(OSError, match=r"cannot listen on \[fe80::b%?") as caught:  # EINVAL, if there were no zone
        await bind_sockets(f"fe80::b%{interface}", 0, 5)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_file_stays_ours_when_the_program_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (made := SocketFile("a.sock", 0o600)).sock:
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        made.remove()
    assert os.listdir(tmp_path) == ["below"]


def test_a_file_that_cannot_be_removed_does_not_keep_its_server_from_stopping(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with (made := SocketFile(str(folder / "a.sock"), 0o600)).sock:
        folder.rename(tmp_path / "gone")
        folder.write_text("no folder any more")
        made.remove()


def test_once_removed_the_path_is_its_successors(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with (made := SocketFile(path, 0o600)).sock:
        made.remove()
    with SocketFile(path, 0o600).sock:  # many file systems give it the same number again
        made.remove()
        assert os.listdir(tmp_path) == ["a.sock"]


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
