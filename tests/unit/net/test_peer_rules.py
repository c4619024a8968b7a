from __future__ import annotations

import pytest

from mycelia.errors import ConfigError
from mycelia.net.peer_rules import check_names, check_proxies, cookie_origins


def test_rules_that_there_are() -> None:
    check_names(("https://example.org", "https://*.example.org", "null", "*"), ("example.org", "*.example.org:8443"))
    check_proxies(("10.0.0.0/8", "::1", "unix"), "forwarded")


@pytest.mark.parametrize(
    ("origins", "hosts", "key"),
    [
        (("https://example.org", "example.org"), (), "allowed_origins"),
        ((), ("example.org", "http://x"), "allowed_hosts"),
    ],
)
def test_what_is_no_rule_is_named(origins: tuple[str, ...], hosts: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError, match=r"expected '(https://)?example") as caught:
        check_names(origins, hosts)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("trusted", "way", "key"), [(("nonsense",), "forwarded", "trusted_proxies"), ((), "x", "proxy_headers")]
)
def test_what_is_no_proxy_is_named(trusted: tuple[str, ...], way: str, key: str) -> None:
    with pytest.raises(ConfigError, match="expected ") as caught:
        check_proxies(trusted, way)
    assert caught.value.key == key


def test_a_star_lets_no_cookies_in() -> None:
    assert cookie_origins(["*", "null", "https://a.example"]) == ["https://a.example"]
