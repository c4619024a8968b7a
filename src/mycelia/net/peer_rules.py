"""What a configuration says of who may ask: origins of pages, names of this server, proxies that are believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mycelia.errors import ConfigError
from mycelia.net.address import Proxies
from mycelia.protocol.http.forwarded import WAYS
from mycelia.protocol.http.origin import check_origin_rule, is_host_rule

__all__ = ["check_names", "check_proxies", "cookie_origins"]


def check_names(origins: Sequence[str], hosts: Sequence[str]) -> None:
    """Raises ConfigError for what is no rule of `allowed_origins` or `allowed_hosts`."""
    for rule in origins:
        try:
            check_origin_rule(rule)
        except ValueError as fault:
            raise ConfigError("allowed_origins", str(fault)) from None
    for rule in hosts:
        if not is_host_rule(rule):
            problem = f"expected 'example.org', 'example.org:8443' or '*.example.org', got {rule!r}"
            raise ConfigError("allowed_hosts", problem)


def check_proxies(trusted: Sequence[str], headers: str) -> None:
    """Raises ConfigError for what is no proxy (`trusted_proxies`), and for a way of theirs that there is not."""
    try:
        Proxies(trusted)
    except ValueError as fault:
        problem = f"expected addresses, networks such as '10.0.0.0/8', or 'unix': {fault}"
        raise ConfigError("trusted_proxies", problem) from None
    if headers not in WAYS:
        raise ConfigError("proxy_headers", f"expected {' or '.join(WAYS)}, got {headers!r}")


def cookie_origins(allowed: Iterable[str]) -> list[str]:
    """Return the rules of an allow-list whose pages may use cookies.

    `*` allows every page to connect. It does not allow every page to use the cookies that its visitors have.
    """
    return [each for each in allowed if each not in ("*", "null")]
