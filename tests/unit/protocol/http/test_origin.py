"""Which pages may ask: the rules for Origin."""

from __future__ import annotations

import pytest

from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake, Headers

REMOTE = ("203.0.113.7", 40000)


def request(*lines: str, target: str = "/ws", secure: bool = False) -> Handshake:
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    return Handshake("GET", target, Headers([(name, value) for name, value in pairs]), REMOTE, secure)


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allow", "allowed"),
    [
        ("http://h", "h", False, (), True),
        ("HTTP://H", "h", False, (), True),
        ("http://h:80", "h", False, (), True),
        ("http://h", "h:80", False, (), True),
        ("http://h:8080", "h:8080", False, (), True),
        ("http://h:8080", "h", False, (), False),
        ("http://h", "h:8080", False, (), False),
        ("https://h", "h", True, (), True),
        ("https://h:443", "h", True, (), True),
        ("http://h", "h", True, (), False),
        ("http://h:8443", "h:8443", True, (), False),  # the same port, but anybody can write a page without TLS
        ("http://h:443", "h", True, (), False),
        ("http://h:443", "h:443", True, (), False),
        ("http://h", "h:80", True, (), False),
        ("ws://h:8443", "h:8443", True, (), False),
        ("http://h:8443", "h:8443", True, ("http://h:8443",), True),
        ("https://h:8443", "h:8443", True, (), True),
        ("https://h:8443", "h:8443", False, (), True),  # TLS ended at a proxy
        ("https://h", "h", False, (), True),  # TLS ended at a proxy
        ("https://h", "h:443", False, (), True),
        ("https://h", "h:80", False, (), False),
        ("http://[::1]:8080", "[::1]:8080", False, (), True),
        ("http://[::1]", "[::1]", False, (), True),
        ("http://h.evil", "h", False, (), False),
        ("http://evil", "h", False, (), False),
        ("http://evil", "h", False, ("*",), True),
        ("http://evil@h", "h", False, ("*",), False),
        ("http://h/", "h", False, (), False),
        ("http://h http://h", "h", False, (), False),
        ("http://h:", "h", False, (), False),
        ("http://h:0", "h", False, (), False),
        ("http://h:99999", "h", False, (), False),
        ("http://h:" + "9" * 5000, "h", False, (), False),
        ("http://", "h", False, (), False),
        ("h", "h", False, (), False),
        ("", "h", False, ("*",), False),
        ("app://h", "h", False, (), False),
        ("app://h", "h", False, ("app://h",), True),
        ("null", "h", False, (), False),
        ("null", "h", False, ("*",), False),
        ("null", "h", False, ("null",), True),
        ("https://a.example.org", "h", False, ("https://a.example.org",), True),
        ("https://a.example.org:443", "h", False, ("HTTPS://A.example.org",), True),
        ("http://a.example.org", "h", False, ("https://a.example.org",), False),
        ("https://a.example.org", "h", False, ("https://*.example.org",), True),
        ("https://a.b.example.org", "h", False, ("https://*.example.org",), True),
        ("https://example.org", "h", False, ("https://*.example.org",), False),
        ("https://evilexample.org", "h", False, ("https://*.example.org",), False),
        ("https://a.example.org.evil", "h", False, ("https://*.example.org",), False),
        ("https://a.example.org:8443", "h", False, ("https://*.example.org",), False),
        ("https://a.example.org:8443", "h", False, ("https://*.example.org:8443",), True),
        ("https://a.example.org", "h", False, ("*.example.org", "https://*.", "", "nonsense"), False),
        ("http://h", "h/evil", False, (), False),
    ],
)
def test_origin(origin: str, host: str, secure: bool, allow: tuple[str, ...], allowed: bool) -> None:
    handshake = request(f"Host: {host}", f"Origin: {origin}", secure=secure)
    assert origin_allowed(handshake, allow) is allowed
    assert origin_allowed(handshake, allow, require=True) is allowed


def test_no_origin_is_a_native_client_unless_one_is_required() -> None:
    assert request("Host: h").origin is None
    assert origin_allowed(request("Host: h"))
    assert not origin_allowed(request("Host: h"), ("*",), require=True)


def test_two_origins_are_none() -> None:
    assert not origin_allowed(request("Host: h", "Origin: http://h", "Origin: http://h"), ("*",))
