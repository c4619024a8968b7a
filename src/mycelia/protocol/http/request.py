"""An HTTP/1.1 request head and the answer to one that is refused.

One strict reader for every engine, so that a request that one of them takes is not refused by another.
It takes what browsers and WebSocket libraries send and nothing that two parsers could read differently
(no folded lines, no bare line feeds, no body). Nothing here waits, reads a clock or touches a socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote_plus

from mycelia.errors import MyceliaError

__all__ = [
    "HEADER_LIMIT",
    "HEAD_LIMIT_BYTES",
    "BadHandshake",
    "Handshake",
    "Headers",
    "HttpReply",
    "UpgradedHandshake",
    "encode_headers",
    "is_token",
    "read_request",
    "redact",
    "tokens",
]

HEAD_LIMIT_BYTES = 16 * 1024
HEADER_LIMIT = 128

# RFC 9110 §5.6.2; the control characters but for tab, which may stand in values.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTROL = bytes(n for n in (*range(32), 127) if n != 9)
_HIDDEN = "***"


def is_token(text: str) -> bool:
    """Whether `text` is a token of RFC 9110 §5.6.2, as names of headers and subprotocols must be."""
    return text != "" and text.isascii() and not text.encode().translate(None, _TOKEN)


def tokens(lines: Iterable[str]) -> list[str]:
    """The elements of a comma-separated list that may be spread over several header lines."""
    return [item for line in lines for part in line.split(",") if (item := part.strip(" \t"))]


def redact(target: str) -> str:
    """A request target fit for a log: the value of every parameter whose name ends in "token" is hidden."""
    path, mark, query = target.partition("?")
    if not mark:
        return target
    parts = query.split("&")
    for at, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and unquote_plus(name).lower().endswith("token"):
            parts[at] = f"{name}={_HIDDEN}"
    return f"{path}?{'&'.join(parts)}"


class Headers:
    """The header lines of one request as they came; looked up without regard to case.

    Immutable. Values are decoded as latin-1 (RFC 9110 §5.5). The look-up table is made at the first look-up.
    """

    __slots__ = ("_pairs", "_table")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        self._table: dict[str, tuple[str, ...]] | None = None  # all values of each lower-case name

    def lines(self, name: str) -> tuple[str, ...]:
        """All values of the lower-case `name`, in order; the quick look-up of this package."""
        table = self._table
        if table is None:
            table = self._table = {}
            for key, value in self._pairs:
                key = key.lower()
                table[key] = (*table[key], value) if key in table else (value,)
        return table.get(name, ())

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`."""
        found = self.lines(name.lower())
        return found[0] if found else default

    def getall(self, name: str) -> list[str]:
        """All values of `name`, in the order in which they came."""
        return list(self.lines(name.lower()))

    def items(self) -> tuple[tuple[str, str], ...]:
        """Every line as (name, value), spelled and ordered as it came."""
        return self._pairs

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.lines(name.lower()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({', '.join(self)})"  # names only: values hold cookies and credentials


@dataclass(frozen=True, slots=True, repr=False)
class Handshake:
    """What a peer asked for when it opened the connection, alike for every engine.

    `target` is what the request line said, in origin form (`/ws?room=1`); `path` and `query` derive from it.
    Its repr holds no credentials.
    """

    method: str
    target: str
    headers: Headers
    remote: tuple[str, int] | None = None
    secure: bool = False
    auth: Mapping[str, object] | None = field(default=None, compare=False)  # what came with it besides HTTP
    _query: dict[str, str] | None = field(default=None, init=False, compare=False)
    _upgrade_checked: bool = field(
        default=False, init=False, compare=False, repr=False
    )  # it has passed `check_upgrade`

    @property
    def path(self) -> str:
        """The path as it was sent, without the query and without percent-decoding: compare it exactly."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded parameters; of a repeated one the last wins. Parsed when first asked for."""
        found = self._query
        if found is None:
            found = {}
            for part in self.target.partition("?")[2].split("&"):
                if part:
                    name, _, value = part.partition("=")
                    found[unquote_plus(name)] = unquote_plus(value)
            object.__setattr__(self, "_query", found)
        return found

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a WebSocket at all, rightly or wrongly; false for a plain HTTP request."""
        return "websocket" in (item.lower() for item in tokens(self.headers.lines("upgrade")))

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The offered subprotocols in the peer's order, those that carry a credential included."""
        return tuple(tokens(self.headers.lines("sec-websocket-protocol")))

    @property
    def host(self) -> str | None:
        return self.headers.get("host")

    @property
    def origin(self) -> str | None:
        return self.headers.get("origin")

    @property
    def key(self) -> str | None:
        return self.headers.get("sec-websocket-key")

    def __repr__(self) -> str:
        return f"Handshake({self.method} {redact(self.target)} from {self.remote})"


@dataclass(frozen=True, slots=True, repr=False)
class UpgradedHandshake(Handshake):
    """One whose upgrade a server below us has judged: its headers may lack what that server took for itself."""

    _upgrade_checked: bool = field(default=True, init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP answer after which the connection closes."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "text/plain; charset=utf-8"

    def encode(self, *, head_only: bool = False) -> bytes:
        """The finished bytes; `head_only` answers HEAD. A header that could split the answer: ValueError."""
        upgrade = any(name.lower() == "upgrade" for name, _ in self.headers)
        lines = [
            ("Connection", "Upgrade, close" if upgrade else "close"),  # RFC 9110 §7.8: Upgrade is hop by hop
            ("Content-Length", str(len(self.body))),
        ]
        if self.body:
            lines.append(("Content-Type", self.content_type))
        head = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        head += encode_headers((*lines, *self.headers)) + b"\r\n"
        return head if head_only else head + self.body


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines as bytes; ValueError for a name that is no token or a value with control characters."""
    lines = []
    for name, value in headers:
        raw = value.encode("latin-1")
        if not is_token(name) or raw.translate(None, _CONTROL) != raw:
            raise ValueError(f"header {name!r}: expected a token and a value without control characters")
        lines.append(b"%s: %s\r\n" % (name.encode(), raw))
    return b"".join(lines)


class BadHandshake(MyceliaError):
    """A request that is refused before there is a connection; `reply` is what its sender gets."""

    blame = "remote"

    def __init__(self, status: int, problem: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.reply = HttpReply(status, problem.encode() + b"\n", headers)
        super().__init__(f"{status}: {problem}")


def read_request(data: bytes | bytearray, remote: tuple[str, int] | None, secure: bool) -> tuple[Handshake, int] | None:
    """Read the request at the start of a growing buffer: it and the size of its head, or None: more needed.

    Raises BadHandshake as soon as the bytes cannot become an acceptable request (RFC 9112).
    """
    end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT_BYTES)
    if end < 0:
        _check_beginning(data)
        return None
    raw = data[:end]
    head = raw.decode("latin-1")
    lines = head.split("\r\n")
    breaks = len(lines) - 1
    if len(raw.translate(None, _CONTROL)) != end - 2 * breaks:
        raise BadHandshake(400, "expected lines that end in CR LF and hold no other control characters")
    if breaks > HEADER_LIMIT:
        raise BadHandshake(431, f"expected at most {HEADER_LIMIT} header lines, got {breaks}")
    method, target = _read_request_line(lines[0])
    headers = Headers(_read_headers(lines[1:]))
    host = headers.lines("host")
    if len(host) != 1 or not host[0]:
        raise BadHandshake(400, f"expected exactly one Host header and a value in it, got {len(host)}")
    if headers.lines("content-length") or headers.lines("transfer-encoding"):
        _check_no_body(headers)
    if target[0] != "/":
        target = _origin_form(target, host[0])
    return Handshake(method, target, headers, remote, secure), end + 4


def _check_beginning(data: bytes | bytearray) -> None:
    """Refuse at once what no further byte can make good, so that a wrong protocol need not time out."""
    if not data:
        return
    if data[0] == 0x16:
        raise BadHandshake(400, "expected HTTP, got TLS: connect with ws:// or enable TLS on this port")
    if not 65 <= data[0] <= 90:
        raise BadHandshake(400, "expected an HTTP/1.1 request")
    if len(data) >= HEAD_LIMIT_BYTES:
        raise BadHandshake(431, f"expected a request head of at most {HEAD_LIMIT_BYTES} bytes")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise BadHandshake(400, "expected lines that end in CR LF, got a bare LF")


def _read_request_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 3:
        raise BadHandshake(400, "expected a request line as `GET /path HTTP/1.1`")
    method, target, version = parts
    if version != "HTTP/1.1":
        if version.startswith("HTTP/"):
            raise BadHandshake(505, "expected HTTP/1.1")
        raise BadHandshake(400, "expected a request line that ends in HTTP/1.1")
    if method not in ("GET", "HEAD"):
        if is_token(method):
            raise BadHandshake(405, "expected GET or HEAD", (("Allow", "GET, HEAD"),))
        raise BadHandshake(400, "expected a request line as `GET /path HTTP/1.1`")
    if not target or not target.isascii() or "#" in target:
        raise BadHandshake(400, "expected a target in ASCII, percent-encoded and without a fragment")
    return method, target


def _read_headers(lines: list[str]) -> list[tuple[str, str]]:
    split = [line.partition(":") for line in lines]
    names = [name if colon else "" for name, colon, _ in split]
    if names and not (all(names) and is_token("".join(names))):  # one check of all: they are as good as the worst
        raise BadHandshake(400, "expected header lines as `name: value`, not folded, no space before the colon")
    return [(name, value.strip(" \t")) for name, _, value in split]


def _check_no_body(headers: Headers) -> None:
    if headers.lines("transfer-encoding"):
        raise BadHandshake(400, "expected a request without a body, got Transfer-Encoding")
    lengths = headers.lines("content-length")
    if len(set(lengths)) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadHandshake(400, "expected Content-Length to be absent or 0")
    if lengths[0].strip("0"):
        raise BadHandshake(413, "expected a request without a body")


def _origin_form(target: str, host: str) -> str:
    """RFC 9112 §3.2.2: a server takes the absolute form too; ours only where it names the same host."""
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        cut = min(at if (at := rest.find(sign)) >= 0 else len(rest) for sign in "/?")
        if rest[:cut].lower() == host.lower():
            return rest[cut:] if rest[cut:].startswith("/") else f"/{rest[cut:]}"
    raise BadHandshake(400, "expected a target that starts with `/`")
