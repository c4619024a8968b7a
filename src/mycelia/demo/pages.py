"""The page and its parts, read once and served from memory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from mycelia.protocol.http.request import Handshake, HttpReply

__all__ = ["Pages", "load_pages"]

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/link.js": ("link.js", "text/javascript; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# The page may use its own files and its own server, nothing else; text cannot become markup or script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


class Pages:
    """Answers plain HTTP requests, for the setting `websocket.http`."""

    def __init__(self, replies: Mapping[str, HttpReply]) -> None:
        self._replies = replies

    def get(self, request: Handshake) -> HttpReply | None:
        """The page at that path; None, and so a 404, where there is none."""
        return self._replies.get(request.path)


def load_pages() -> Pages:
    """Reads the files beside this module, also when they are inside a zip."""
    folder = files("mycelia.demo")
    return Pages(
        {
            path: HttpReply(200, (folder / name).read_bytes(), _HEADERS, content_type)
            for path, (name, content_type) in _FILES.items()
        }
    )
