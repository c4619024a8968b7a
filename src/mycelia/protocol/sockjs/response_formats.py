"""How the HTTP transports of SockJS carry frames to the client: one frame a response, or as many as fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mycelia.protocol.sockjs.frames import script

__all__ = ["CALLBACKS", "RECEIVING", "SENDING", "Style", "style_of"]

_JAVASCRIPT: Final = "application/javascript; charset=UTF-8"
_HTML: Final = "text/html; charset=UTF-8"

RECEIVING: Final[Mapping[str, str]] = {
    "xhr": "POST",
    "xhr_streaming": "POST",
    "eventsource": "GET",
    "htmlfile": "GET",
    "jsonp": "GET",
}
"""The transports to the client, with their methods."""

SENDING: Final = frozenset({"xhr_send", "jsonp_send"})
"""The transports from the client, which are POST."""

CALLBACKS: Final = frozenset({"htmlfile", "jsonp"})
"""The transports that call a function of the page, named by the parameter `c`."""

_PAGE: Final = b"""<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%b;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>"""
_PAGE_BYTES: Final = 1024  # fewer some browsers keep to themselves


@dataclass(frozen=True, slots=True)
class Style:
    """One transport to the client. What is not `streaming` ends with its first frame."""

    content_type: str
    wrap: Callable[[bytes], bytes]
    prelude: bytes = b""  # comes before the first frame, so that browsers begin to hand over what comes
    streaming: bool = True


def style_of(transport: str, callback: str = "") -> Style:
    """The style of a receiving transport; `callback` must be one (`sockjs.is_callback`)."""
    match transport:
        case "xhr":
            return _XHR
        case "xhr_streaming":
            return _XHR_STREAMING
        case "eventsource":
            return _EVENTSOURCE
        case "htmlfile":
            page = (_PAGE % callback.encode()).ljust(_PAGE_BYTES) + b"\r\n\r\n"
            return Style(_HTML, lambda frame: b"<script>\np(%b);\n</script>\r\n" % script(frame), page)
        case _:
            # The comment keeps the answer from beginning with what somebody else has chosen.
            called = b"/**/" + callback.encode()
            return Style(_JAVASCRIPT, lambda frame: b"%b(%b);\r\n" % (called, script(frame)), streaming=False)


def _line(frame: bytes) -> bytes:
    return frame + b"\n"


def _event(frame: bytes) -> bytes:
    return b"data: " + frame + b"\r\n\r\n"


_XHR: Final = Style(_JAVASCRIPT, _line, streaming=False)
_XHR_STREAMING: Final = Style(_JAVASCRIPT, _line, b"h" * 2048 + b"\n")
_EVENTSOURCE: Final = Style("text/event-stream", _event, b"\r\n")
