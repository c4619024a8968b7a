from __future__ import annotations

from typing import Any

import pytest

from mycelia import ConfigError, MessageSystem
from mycelia.auth import TokenAuthenticator
from mycelia.kernel.rate import Rate
from mycelia.server import Config, ServerConfig, ServerSubsystem
from mycelia.server.config import load_config


def test_both_spellings_load_in_their_units() -> None:
    camel = load_config(
        {
            "server": {"type": "granian", "allowedOrigins": ["https://a.example"]},
            "limits": {"maxBody": 5, "bodyTimeout": 1500, "failedLogins": {"maxMessages": 1, "windowMs": 2000}},
        }
    )
    snake = load_config(
        {
            "server": {"type": "granian", "allowed_origins": ["https://a.example"]},
            "limits": {"max_body": 5, "body_timeout": 1.5, "failed_logins": Rate(1, 2.0)},
        }
    )
    assert camel == snake and camel.limits.body_timeout == 1.5
    assert load_config(camel) is camel and load_config(None) == Config()
    assert load_config({"server": ServerConfig(port=1)}).server.port == 1


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"sever": {}}, "config.sever"),
        ([], "config"),
        ({"server": []}, "server"),
        ({"server": {"prot": 1}}, "server.prot"),
        ({"server": {"allowedHosts": [], "allowed_hosts": []}}, "server.allowed_hosts"),
        ({"server": {"type": "gunicorn"}}, "server.type"),
        ({"server": {"port": 65536}}, "server.port"),
        ({"server": {"port": "80"}}, "server.port"),
        ({"server": {"host": ""}}, "server.host"),
        ({"server": {"sockets": 1}}, "server.sockets"),
        ({"server": {"allowed_origins": ["example.org"]}}, "server.allowed_origins"),
        ({"server": {"allowed_hosts": ["http://x"]}}, "server.allowed_hosts"),
        ({"server": {"static": ["x"]}}, "server.static"),
        ({"server": {"static": {"x": "y"}}}, "server.static"),
        ({"server": {"static": {"/x?": "y"}}}, "server.static"),
        ({"server": {"static": {"/x": ""}}}, "server.static"),
        ({"server": {"options": []}}, "server.options"),
        ({"limits": {"max_requests": 0}}, "limits.max_requests"),
        ({"limits": {"max_body": -1}}, "limits.max_body"),
        ({"limits": {"body_timeout": 0}}, "limits.body_timeout"),
        ({"limits": {"handler_timeout": -1}}, "limits.handler_timeout"),
        ({"limits": {"failed_logins": {"max": 1}}}, "limits.failed_logins.max"),
        ({"limits": {"trusted_proxies": ["nonsense"]}}, "limits.trusted_proxies"),
        ({"limits": {"proxy_headers": "x"}}, "limits.proxy_headers"),
        ({"health": {"ready": "ready"}}, "health.ready"),
        ({"health": {"details": "yes"}}, "health.details"),
        ({"authentication": {"mode": "required"}}, "authentication.authenticator"),
        ({"authentication": {"authenticator": TokenAuthenticator}}, "authentication.authenticator"),
        ({"authentication": {"authenticator": TokenAuthenticator(lambda _: None), "mode": "x"}}, "authentication.mode"),
        ({"authentication": {"deadline": 0}}, "authentication.deadline"),
        ({"errors": {"records": 0}}, "errors.records"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_enrolled(config: Any, key: str) -> None:
    system = MessageSystem("main")
    with pytest.raises(ConfigError) as caught:
        ServerSubsystem("server", ms=system, config=config)
    assert caught.value.key == key
    assert not system.subsystems


def test_the_subsystem_is_called_server() -> None:
    with pytest.raises(ConfigError, match="expected 'server'"):
        ServerSubsystem("http")
    assert ServerSubsystem().name == "server"
