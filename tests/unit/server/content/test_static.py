"""Files: found safely, in whatever spelling they are asked for."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.support import Answer, serving

SECRET = b"a secret outside"
SEGMENTS = (
    "..", ".", "%2e%2e", "%2E.", "", "outside-folder", "docs", "secret.txt", "a.txt", "%5c", "%2f", "%00", "public",
    "..%2f..", "....", "%c0%ae%c0%ae",
)  # fmt: skip


@pytest.fixture
def public(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "docs").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / ".well-known").mkdir()
    (folder / ".git").mkdir()
    for name, content in {
        "a.txt": b"hello world",
        "page.html": b"<p>",
        "app.js": b"1",
        "é ü.css": b"x",
        "data.bin": bytes(range(256)) * 4096,
        "pack.tar.gz": b"gz",
        "nothing": b"",
        "docs/index.html": b"docs",
        ".env": SECRET,
        ".git/config": SECRET,
        ".well-known/security.txt": b"contact",
        "../secret.txt": SECRET,
        "../public-not/secret.txt": SECRET,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "inside").symlink_to("a.txt")
    (folder / "outside").symlink_to("../secret.txt")
    (folder / "outside-folder").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    (folder / "away").mkdir()
    (folder / "away" / "index.html").symlink_to("../../secret.txt")
    os.mkfifo(folder / "pipe")
    return folder


async def ask(folder: Path, spec: str, **headers: str) -> Answer:
    async with serving(server={"static": {"/assets": str(folder)}}) as stage:
        return await stage.ask(spec, **headers)


@pytest.mark.parametrize(
    ("name", "kind", "body"),
    [
        ("a.txt", "text/plain; charset=utf-8", b"hello world"),
        ("page.html", "text/html; charset=utf-8", b"<p>"),
        ("app.js", "text/javascript; charset=utf-8", b"1"),
        ("%C3%A9%20%C3%BC.css", "text/css; charset=utf-8", b"x"),
        ("%61.txt", "text/plain; charset=utf-8", b"hello world"),
        ("data.bin", "application/octet-stream", bytes(range(256)) * 4096),
        ("pack.tar.gz", "application/gzip", b"gz"),
        ("nothing", "application/octet-stream", b""),
        ("docs/", "text/html; charset=utf-8", b"docs"),
        ("docs/index.html", "text/html; charset=utf-8", b"docs"),
        ("inside", "text/plain; charset=utf-8", b"hello world"),
        (".well-known/security.txt", "text/plain; charset=utf-8", b"contact"),
    ],
)
async def test_a_file(public: Path, name: str, kind: str, body: bytes) -> None:
    answer = await ask(public, f"GET /assets/{name}")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, kind)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = await ask(public, f"HEAD /assets/{name}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(body)))


@pytest.mark.parametrize(
    "name",
    [
        "", "missing", "empty/", "a.txt/", "docs/missing", "../secret.txt", "%2e%2e/secret.txt",
        ".%2e/secret.txt", "docs/../../secret.txt", "docs/%2e%2e/%2e%2e/secret.txt", "..%2fsecret.txt",
        "..%5csecret.txt", "..\\secret.txt", "%2fetc/passwd", "/etc/passwd", "//etc/passwd", "a.txt%00",
        "a.txt%00.html", ".env", ".git/config", ".git/", "outside", "outside-folder/secret.txt",
        "outside-folder/", "loop", "away/", "pipe", "%252e%252e/secret.txt", "../public-not/secret.txt",
        "-not/secret.txt", "./a.txt", "docs//index.html", "C:/a.txt", "~root", "a.txt:stream",
        "\u2025/secret.txt", "\uff0e\uff0e/secret.txt",
    ],
)  # fmt: skip
async def test_what_is_not_there(public: Path, name: str) -> None:
    answer = await ask(public, f"GET /assets/{quote(name, safe='/%.:~')}")
    assert answer.status in (404, 422)
    assert answer.code in ("NOT_FOUND", "INVALID_PATH")
    assert SECRET not in answer.body


async def test_other_methods_are_refused(public: Path) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        answer = await ask(public, f"{method} /assets/a.txt")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    answer = await ask(public, "OPTIONS /assets/a.txt")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_a_folder_without_its_slash_is_elsewhere(public: Path) -> None:
    answer = await ask(public, "GET /assets/docs?a=1")
    assert (answer.status, answer.headers["location"]) == (308, "./docs/?a=1")


async def test_the_folder_itself_without_its_slash_is_elsewhere_too(public: Path) -> None:
    assert (await ask(public, "GET /assets")).status == 404  # without an index.html there is nothing to be shown
    (public / "index.html").write_bytes(b"start")
    answer = await ask(public, "GET /assets?a=1")
    assert (answer.status, answer.headers["location"]) == (308, "./assets/?a=1")
    assert (await ask(public, "GET /assets/")).body == b"start"
    answer = await ask(public, "POST /assets")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    for other in ("/asset", "/assets-not", "/Assets"):
        assert (await ask(public, f"GET {other}")).status == 404
    async with serving(server={"static": {"/größe/x": str(public)}}) as stage:
        assert (await stage.ask("GET /gr%C3%B6%C3%9Fe/x")).headers["location"] == "./x/"
    async with serving(server={"static": {"/": str(public)}}) as stage:
        assert (await stage.ask("GET /")).body == b"start"


async def test_a_folder_that_goes_away_or_becomes_a_file_is_not_there_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with serving(server={"static": {"/assets": str(folder)}}) as stage:
        folder.rmdir()
        assert [(await stage.ask(f"GET {path}")).status for path in ("/assets", "/assets/")] == [404, 404]
        folder.write_bytes(SECRET)
        assert [(await stage.ask(f"GET {path}")).status for path in ("/assets", "/assets/")] == [404, 404]


async def test_validators(public: Path) -> None:
    first = await ask(public, "GET /assets/a.txt")
    tag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers in ({"if_none_match": tag}, {"if_modified_since": modified}):
        again = await ask(public, "GET /assets/a.txt", **headers)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
    (public / "a.txt").write_bytes(b"changed, and longer")
    assert (await ask(public, "GET /assets/a.txt", if_none_match=tag)).body == b"changed, and longer"


async def test_ranges(public: Path) -> None:
    part = await ask(public, "GET /assets/a.txt", range="bytes=6-")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"world", "bytes 6-10/11")
    assert part.headers["content-length"] == "5"
    beyond = await ask(public, "GET /assets/a.txt", range="bytes=11-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */11")
    middle = await ask(public, "GET /assets/data.bin", range="bytes=262143-786432")
    assert middle.body == (bytes(range(256)) * 4096)[262143:786433]


async def test_a_route_is_asked_before_a_file_and_the_longest_prefix_wins(public: Path, tmp_path: Path) -> None:
    folders = {"/": str(public), "/docs": str(public / ".well-known")}
    async with serving(lambda stage: stage.route("GET /a.txt", lambda: "route"), server={"static": folders}) as stage:
        assert (await stage.ask("GET /a.txt")).data == "route"
        assert (await stage.ask("GET /app.js")).body == b"1"
        assert (await stage.ask("GET /docs/security.txt")).body == b"contact"
        assert (await stage.ask("GET /docs/index.html")).status == 404
        assert (await stage.ask("GET /")).status == 404


async def test_who_leaves_ends_the_sending(public: Path) -> None:
    async with serving(server={"static": {"/assets": str(public)}}) as stage:
        before = len(os.listdir("/proc/self/fd"))
        call = stage.call("GET /assets/data.bin")
        call.say({"type": "http.disconnect"})
        await call.ended()
        assert len(os.listdir("/proc/self/fd")) == before


async def test_who_does_not_read_ends_the_sending(public: Path) -> None:
    limits = {"send_timeout": 0.02}
    async with serving(server={"static": {"/assets": str(public)}}, limits=limits) as stage:
        call = stage.call("GET /assets/data.bin")
        call.stalls_after = 2
        await call.ended()
        assert (len(call.sent), stage.facet.snapshot()["running"]) == (2, 0)


async def test_a_socket_in_the_folder_is_no_file(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(public)
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("sock")
        assert (await ask(public, "GET /assets/sock")).status == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.sampled_from(SEGMENTS), max_size=6))
async def test_no_spelling_leads_out(public: Path, segments: list[str]) -> None:
    answer = await ask(public, "GET /assets/" + "/".join(segments))
    assert SECRET not in answer.body
    assert answer.status in (200, 308, 404, 422)


async def test_a_request_that_ends_while_its_file_is_opened_leaves_no_descriptor(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, opening, closed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    go_on, opened, quick, close = threading.Event(), list[int](), os.open, os.close

    def slow(path: str, flags: int) -> int:
        loop.call_soon_threadsafe(opening.set)
        assert go_on.wait(5)
        opened.append(quick(path, flags))
        return opened[0]

    def close_and_tell(descriptor: int) -> None:
        close(descriptor)
        if opened == [descriptor]:
            closed.set()

    async with serving(server={"static": {"/assets": str(public)}}) as stage, asyncio.timeout(5):
        call = stage.call("GET /assets/a.txt")
        monkeypatch.setattr(os, "open", slow)
        await opening.wait()
        call.task.cancel()
        await asyncio.wait([call.task])
        monkeypatch.setattr(os, "close", close_and_tell)
        go_on.set()
        await closed.wait()
