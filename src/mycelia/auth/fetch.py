"""Fetches one small document over HTTP(S), with a deadline and a size limit, and without redirects.

It speaks the part of HTTP/1.1 (RFC 9112) that a key set needs: one GET on a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from mycelia.errors import ConfigError, Unavailable

__all__ = ["check_url", "fetch"]

_HEAD_BYTES = 16 * 1024


def check_url(key: str, url: str) -> None:
    """Raise ConfigError unless the URL is https, or http on this machine, where no attacker can change the document."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(key, f"expected a URL such as 'https://id.example.org/keys', got {url!r}") from None
    if not host or parts.scheme not in ("http", "https") or parts.username or any(each <= " " for each in url):
        raise ConfigError(key, f"expected a URL such as 'https://id.example.org/keys', got {url!r}")
    if parts.scheme == "http" and not _is_local(host):
        raise ConfigError(key, f"expected https://, got {url!r}: over http, an attacker can change the keys")


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def fetch(url: str, timeout: float, max_bytes: int) -> bytes:
    """Return the body of a response with status 200.

    Args:
        url: The URL.
        timeout: The deadline for the whole exchange in seconds.
        max_bytes: The maximum size of the body.

    Raises:
        Unavailable: There was no such response in time, or it is too large.
    """
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(timeout):
            return await _get(parts, max_bytes)
    except TimeoutError:
        raise Unavailable(f"{_where(parts)} did not answer within {timeout:g} s") from None
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise Unavailable(f"{_where(parts)} cannot be read: {error}") from error


async def _get(parts: SplitResult, max_bytes: int) -> bytes:
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=_HEAD_BYTES)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        writer.write(f"{head}Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode("ascii"))
        await writer.drain()
        return await _body(reader, max_bytes)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = status.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise ValueError("expected an HTTP/1.1 response")
    if rest[:3] != "200":
        raise ValueError(f"expected status 200, got {rest[:3]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ValueError("expected a response without compression")
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise ValueError("expected chunked as the only transfer coding")
        return await _chunks(reader, max_bytes)
    length = headers.get("content-length")
    if length is None:
        return await _until_eof(reader, max_bytes)
    if not (length.isascii() and length.isdigit()):
        raise ValueError("expected a content length")
    return await reader.readexactly(_bounded(int(length[:20]), max_bytes))


async def _until_eof(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    body = b""
    while more := await reader.read(_HEAD_BYTES):
        body += more
        _bounded(len(body), max_bytes)
    return body


async def _chunks(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    body = b""
    while True:
        digits = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
        if not digits or digits.translate(None, b"0123456789abcdefABCDEF"):
            raise ValueError("expected the size of a chunk")
        size = int(digits, 16)
        if not size:
            return body
        _bounded(len(body) + size, max_bytes)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("expected the end of a chunk")


def _bounded(size: int, max_bytes: int) -> int:
    if size > max_bytes:
        raise ValueError(f"expected at most {max_bytes} bytes, got {size}")
    return size


def _where(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
