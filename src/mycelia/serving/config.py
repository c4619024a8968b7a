"""The configuration sections that the HTTP server and the WebSocket server share: where to listen, who must log in."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mycelia.auth import Authenticator
from mycelia.config.sections import below, between, check_fields, octal, seconds
from mycelia.errors import ConfigError
from mycelia.net.certificates import TlsConfig, read_tls
from mycelia.net.listen_address import check_place
from mycelia.net.peer_rules import check_names

__all__ = ["BaseAuthenticationConfig", "ListenConfig", "settled_mode"]

_MODES = ("required", "optional", "off")


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """The listen address of a server, and the origins and hosts that it serves.

    This is the base of the sections `server` and `websocket`. A subclass sets the class attributes and the default of
    `type`, and calls `check_listen` in its `__post_init__`.

    Attributes:
        section: The name of the section, for errors.
        default_host: The default of `host`. Together with `unix_socket`, only this host is accepted.
        default_port: The default of `port`. Together with `unix_socket`, only this port is accepted.
    """

    section: ClassVar[str]
    default_host: ClassVar[str]
    default_port: ClassVar[int]

    type: str
    host: str | tuple[str, ...] = "0.0.0.0"
    port: int = 0
    unix_socket: str | None = None
    socket_mode: str = octal("600")
    tls: TlsConfig | ssl.SSLContext | None = None
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def check_listen(self) -> None:
        """Raise ConfigError for an invalid address, TLS setting, origin rule or host rule."""
        between(f"{self.section}.port", self.port, 0, 65535)
        with below(self.section):
            object.__setattr__(self, "tls", read_tls(self.tls))
            check_place(self, self.default_host, self.default_port)
            check_names(self.allowed_origins, self.allowed_hosts)


@dataclass(frozen=True, slots=True)
class BaseAuthenticationConfig:
    """The authenticator of clients, its deadline, and whether a login is required (section `authentication`).

    The `mode` "auto" becomes "required" with an authenticator and "off" without one.
    """

    authenticator: Authenticator | None = None
    mode: str = "auto"
    deadline: float = seconds(10.0)

    def check_authentication(self) -> None:
        """Raise ConfigError for an invalid value, and replace the mode "auto"."""
        check_fields("authentication", self)
        object.__setattr__(self, "mode", settled_mode(self.authenticator, self.mode))


def settled_mode(authenticator: object, mode: str) -> str:
    """Return the mode of a section `authentication`: "auto" becomes "required" with an authenticator, else "off".

    Raises:
        ConfigError: The authenticator or the mode is invalid, or the mode needs an authenticator and there is none.
    """
    key = "authentication.authenticator"
    if authenticator is not None and (
        isinstance(authenticator, type) or not callable(getattr(authenticator, "authenticate", None))
    ):
        got = f"the class {authenticator.__name__}" if isinstance(authenticator, type) else type(authenticator).__name__
        raise ConfigError(key, f"expected an Authenticator, such as TokenAuthenticator(function), got {got}")
    if mode == "auto":
        return "off" if authenticator is None else "required"
    if mode not in _MODES:
        raise ConfigError("authentication.mode", f"expected one of {', '.join(_MODES)}, auto; got {mode!r}")
    if mode != "off" and authenticator is None:
        raise ConfigError(key, f"expected an authenticator, because mode is {mode!r}")
    return mode
