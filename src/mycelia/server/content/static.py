"""Static files over HTTP, read in threads, with validators and single ranges (RFC 9110 §13, §14).

A path that leaves its folder, by dots, by a link or by an encoding, is not found. Names that begin with a dot, and
folders without an `index.html`, are not found either. Folders are never listed.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from mimetypes import MimeTypes

from mycelia.asgi.scope import Send, encoded
from mycelia.protocol.http.request import Handshake
from mycelia.server.content.preconditions import Span, is_not_modified, requested_span
from mycelia.server.response import Header, HttpResponse, start_event

__all__ = ["FileResponse", "StaticFolders"]

CHUNK_BYTES = 256 * 1024
_Opened = tuple[int, os.stat_result, str] | str | None
_WELL_KNOWN = ".well-known"  # RFC 8615: the only name with a leading dot that is served
_UTF8 = frozenset({"application/json", "application/manifest+json", "image/svg+xml"})
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".webp": "image/webp",
    ".avif": "image/avif",
}


@dataclass(frozen=True, slots=True)
class FileResponse:
    """An open file and the span of it to send. `send` closes the file; a caller that does not send must `close` it."""

    status: int
    headers: tuple[Header, ...]
    descriptor: int
    span: Span

    async def send(self, send: Send, *, head_only: bool = False, extra: tuple[Header, ...] = ()) -> None:
        """Send the span, chunk by chunk, each read in a thread. Ignore a client that has disconnected."""
        try:
            with suppress(OSError):
                await send(start_event(self.status, (*self.headers, *extra)))
                at = self.span.end if head_only else self.span.begin
                while at < self.span.end:
                    wanted = min(CHUNK_BYTES, self.span.end - at)
                    chunk = await asyncio.to_thread(os.pread, self.descriptor, wanted, at)
                    if not chunk:
                        raise RuntimeError("the file became shorter while it was sent")
                    at += len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": at < self.span.end})
                if head_only or self.span.begin == self.span.end:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class StaticFolders:
    """The static folders by the URL prefix of their files. The longest prefix wins."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        prefixes = {prefix.rstrip("/"): os.path.realpath(folder) for prefix, folder in folders.items()}
        self._folders = sorted(prefixes.items(), key=lambda each: -len(each[0]))
        self._types = MimeTypes(filenames=())
        for suffix, kind in _TYPES.items():
            self._types.add_type(kind, suffix)

    def holds(self, path: str) -> bool:
        """Return True if a decoded path is one of the prefixes or below one."""
        return self._locate(path) is not None

    async def find(self, path: str, request: Handshake) -> HttpResponse | FileResponse | None:
        """Return the response to GET or HEAD for a decoded path; None if there is no such file."""
        location = self._locate(path)
        if location is None:
            return None
        folder, segments = location
        for each in segments[:-1]:
            if not _is_name(each):
                return None
        if segments and segments[-1] and not _is_name(segments[-1]):
            return None
        opening = asyncio.get_running_loop().run_in_executor(None, _open, folder, segments)
        try:
            found = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)  # The thread continues and opens the file.
            raise
        if found is None:
            return None
        if isinstance(found, str):
            query = request.target.partition("?")[2]
            name = encoded(path.rpartition("/")[2])
            return HttpResponse(308, b"", (("location", f"./{name}/{'?' if query else ''}{query}"),))
        return self._response(*found, request)

    def _locate(self, path: str) -> tuple[str, list[str]] | None:
        """Return the folder of a path and the segments below it; no segments for a prefix without a slash."""
        for prefix, folder in self._folders:
            if path == prefix:
                return folder, []
            if path.startswith(f"{prefix}/"):
                return folder, path[len(prefix) + 1 :].split("/")
        return None

    def _response(
        self, descriptor: int, about: os.stat_result, name: str, request: Handshake
    ) -> HttpResponse | FileResponse:
        modified = int(about.st_mtime)
        tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
        validators: tuple[Header, ...] = (
            ("etag", tag),
            ("last-modified", formatdate(modified, usegmt=True)),
            ("cache-control", "no-cache"),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
        )
        if is_not_modified(request.headers, tag, modified):
            os.close(descriptor)
            return HttpResponse(304, b"", validators)
        kind = ("content-type", self._type_of(name))
        span = requested_span(request, tag, modified, about.st_size)
        if span is None:
            os.close(descriptor)
            return HttpResponse(416, b"", (("content-range", f"bytes */{about.st_size}"), *validators))
        length = ("content-length", str(span.end - span.begin))
        if not span.partial:
            return FileResponse(200, (length, kind, *validators), descriptor, span)
        shown = ("content-range", f"bytes {span.begin}-{span.end - 1}/{about.st_size}")
        return FileResponse(206, (length, kind, shown, *validators), descriptor, span)

    def _type_of(self, name: str) -> str:
        kind, encoding = self._types.guess_type(name)
        if encoding is not None:
            return f"application/{encoding}"
        if kind is None:
            return "application/octet-stream"
        return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in _UTF8 else kind


def _close_unused(opening: asyncio.Future[_Opened]) -> None:
    """Close a file that was opened after its request was cancelled."""
    if not opening.cancelled() and opening.exception() is None and isinstance(found := opening.result(), tuple):
        os.close(found[0])


def _is_name(segment: str) -> bool:
    if not segment or "\\" in segment or "\0" in segment or ":" in segment:
        return False
    return not segment.startswith(".") or segment == _WELL_KNOWN


def _open(folder: str, segments: list[str]) -> _Opened:
    """Return the open file, its status and its path; "/" for a folder whose path has no slash at the end."""
    try:
        path = os.path.realpath(os.path.join(folder, *segments), strict=True)
        if os.path.commonpath((folder, path)) != folder:
            return None
        if os.path.isdir(path):
            if not segments or segments[-1]:
                return "/" if os.path.isfile(os.path.join(path, "index.html")) else None
            path = os.path.realpath(os.path.join(path, "index.html"), strict=True)
            if os.path.commonpath((folder, path)) != folder:
                return None
        elif not segments or not segments[-1]:
            return None
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except (OSError, ValueError):
        return None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):  # The path is a pipe or a device.
        os.close(descriptor)
        return None
    return descriptor, about, path
