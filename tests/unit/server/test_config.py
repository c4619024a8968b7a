from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from mycelia import ConfigError, MessageSystem
from mycelia.auth import TokenAuthenticator
from mycelia.scheduling.rate_limiter import Rate
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
    for config in (
        {"unixSocket": "/run/a.sock", "socketMode": "660"},
        {"unix_socket": "/run/a.sock", "socket_mode": "660"},
    ):
        assert load_config({"server": config}).server == ServerConfig(unix_socket="/run/a.sock", socket_mode="660")
    assert load_config({"server": {"host": ["::1", "127.0.0.1"]}}).server.host == ("::1", "127.0.0.1")


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
        ({"server": {"host": []}}, "server.host"),
        ({"server": {"host": ["127.0.0.1", ""]}}, "server.host"),
        ({"server": {"host": 5}}, "server.host"),
        ({"server": {"unixSocket": "/run/a.sock", "host": "0.0.0.0"}}, "server.unixSocket"),
        ({"server": {"unix_socket": "/run/a.sock", "port": 8000}}, "server.unix_socket"),
        ({"server": {"unix_socket": ""}}, "server.unix_socket"),
        ({"server": {"unix_socket": 5}}, "server.unix_socket"),
        ({"server": {"socket_mode": "888"}}, "server.socket_mode"),
        ({"server": {"socketMode": "1777"}}, "server.socket_mode"),
        ({"server": {"tls": {}}}, "server.tls.certificate"),
        ({"server": {"tls": {"certificate": "/absent.pem"}}}, "server.tls.certificate"),
        ({"server": {"tls": {"certificates": "a.pem"}}}, "server.tls.certificates"),
        ({"server": {"tls": {"client_ca": "a", "clientCa": "a"}}}, "server.tls.clientCa"),
        ({"server": {"tls": "a.pem"}}, "server.tls"),
        ({"server": {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}}, "server.tls"),
        ({"server": {"type": "granian", "tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}}, "server.tls"),
        ({"server": {"type": "asgi", "tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}}, "server.tls"),
        ({"server": {"type": "asgi", "unix_socket": "/run/a.sock"}}, "server.unix_socket"),
        ({"server": {"type": "asgi", "port": 1}}, "server.port"),
        ({"server": {"sockets": 1}}, "server.sockets"),
        ({"server": {"allowed_origins": ["example.org"]}}, "server.allowed_origins"),
        ({"server": {"allowed_hosts": ["http://x"]}}, "server.allowed_hosts"),
        ({"server": {"static": ["x"]}}, "server.static"),
        ({"server": {"static": {"x": "y"}}}, "server.static"),
        ({"server": {"static": {"/x?": "y"}}}, "server.static"),
        ({"server": {"static": {"/x": ""}}}, "server.static"),
        ({"server": {"static": {"/x": "absent-folder/"}}}, "server.static"),
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


def test_a_folder_of_files_must_be_there_and_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.html").write_bytes(b"")
    for given, found in (("public/", "nothing there"), ("page.html", "a file")):
        with pytest.raises(ConfigError) as caught:
            load_config({"server": {"static": {"/assets": given}}})
        where = tmp_path / given
        assert caught.value.problem == f"expected a folder for '/assets' at {where}, got {found}"
    (tmp_path / "public").mkdir()
    assert load_config({"server": {"static": {"/assets": "public/"}}}).server.static == {"/assets": "public/"}


@pytest.mark.parametrize("key", ["socketMode", "socket_mode"])
def test_permissions_are_a_text(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"server": {key: 660}})
    assert caught.value.key == f"server.{key}"
    assert caught.value.problem == "expected octal digits as a text, such as '660', got 660"
    with pytest.raises(ConfigError, match="octal digits as a text"):
        ServerConfig(socket_mode=0o660)  # type: ignore[arg-type]  # that is what is told


def test_the_subsystem_is_called_server() -> None:
    with pytest.raises(ConfigError, match="expected 'server'"):
        ServerSubsystem("http")
    assert ServerSubsystem().name == "server"
