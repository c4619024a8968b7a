from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from mycelia.errors import ConfigError
from mycelia.realtime.config.config import load_config
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.scheduling.rate_limiter import Rate, RateLimiter
from tests.support.names import shown

RATES = [each.name for each in fields(LimitsConfig) if "Rate" in str(each.type)]


@pytest.mark.parametrize(
    "given",
    [
        Rate(100, 60.0),
        RateLimiter(100, 60.0),
        {"max_messages": 100, "window": 60},
        {"maxMessages": 100, "windowMs": 60_000},
        {"maxMessages": 100, "window": 60.0},
    ],
    ids=shown,
)
@pytest.mark.parametrize("name", RATES)
def test_a_rate_in_every_spelling(name: str, given: Any) -> None:
    head, *rest = name.split("_")
    for key in {name, head + "".join(map(str.capitalize, rest))}:
        assert getattr(load_config({"limits": {key: given}}).limits, name) == Rate(100, 60.0)
        assert getattr(load_config({"limits": {key: None}}).limits, name) is None
    assert getattr(LimitsConfig(**{name: given}), name) == Rate(100, 60.0)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (100, "limits.abuse"),
        ("100/60s", "limits.abuse"),
        ({}, "limits.abuse"),
        ({"maxMessages": 1}, "limits.abuse"),
        ({"maxMessages": 1, "windowMs": 0}, "limits.abuse.window"),
        ({"maxMessages": 1, "windowMs": "1 s"}, "limits.abuse.window"),
        ({"maxMessages": 0, "windowMs": 1000}, "limits.abuse.max_messages"),
        ({"maxMessages": 1, "max_messages": 1, "windowMs": 1000}, "limits.abuse.max_messages"),
        ({"most": 1, "windowMs": 1000}, "limits.abuse.most"),
    ],
)
def test_what_is_no_rate_is_named(given: Any, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"limits": {"abuse": given}})
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("camel", "snake", "theirs", "ours"),
    [
        ("connectionsPerAddress", "connections_per_address", 0, 0),
        ("connectionsPerPrincipal", "connections_per_principal", 3, 3),
        ("smallFragmentBytes", "small_fragment_bytes", 0, 0),
        ("messageValues", "message_values", 32_768, 32_768),
        ("messageValues", "message_values", 0, 0),
        ("outboundBytes", "outbound_bytes", 1024, 1024),
        ("handlerTimeout", "handler_timeout", 1500, 1.5),
        ("idleTimeout", "idle_timeout", 1500, 1.5),
        ("connectionLifetime", "connection_lifetime", 1500, 1.5),
        ("queryParameters", "query_parameters", 9, 9),
        ("trustedProxies", "trusted_proxies", ["10.0.0.0/8", "::1"], ("10.0.0.0/8", "::1")),
    ],
)
def test_the_other_keys(camel: str, snake: str, theirs: Any, ours: Any) -> None:
    assert getattr(load_config({"limits": {camel: theirs}}).limits, snake) == ours
    assert getattr(load_config({"limits": {snake: ours}}).limits, snake) == ours


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("connections_per_address", -1),
        ("outbound_bytes", 1.5),
        ("message_values", 32_767),
        ("outbound_bytes", 1023),
        ("idle_timeout", float("nan")),
        ("handler_timeout", -1.0),
        ("trusted_proxies", ["my proxy"]),
        ("trusted_proxies", ["10.0.0.1/8"]),
        ("trusted_proxies", "10.0.0.1"),
        ("no_such_limit", 1),
    ],
)
def test_what_is_wrong_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"limits": {key: value}})
    assert caught.value.key == f"limits.{key}"


def test_it_is_frozen_and_safe_without_being_told() -> None:
    limits = LimitsConfig()
    with pytest.raises(FrozenInstanceError):
        limits.abuse = None  # type: ignore[misc]  # which is to fail
    assert all((limits.connections_per_address, limits.accept_rate, limits.control_rate, limits.outbound_bytes))
    assert (limits.rate_per_connection, limits.rate_per_principal, limits.rate_per_address) == (None, None, None)


@pytest.mark.parametrize(
    "rule", ["example.org", "https://", "https://*example.org", "https://*.*.org", "*.example.org"]
)
def test_an_origin_that_no_page_can_have_is_named(rule: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins: expected 'https://"):
        load_config({"websocket": {"allowedOrigins": [rule]}})


@pytest.mark.parametrize("rule", ["https://example.org", "", "a b", "example.org:99999", "*", "a.*.org"])
def test_a_host_that_nobody_can_ask_for_is_named(rule: str) -> None:
    with pytest.raises(ConfigError, match="allowed_hosts: expected 'example"):
        load_config({"websocket": {"allowedHosts": [rule]}})
