"""Who must be known, and by whom: the section `authentication` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from mycelia.auth import Authenticator
from mycelia.errors import ConfigError
from mycelia.websocket.settings import between, check_fields, seconds

__all__ = ["AuthenticationConfig"]

_MODES = ("required", "optional", "off")


@dataclass(frozen=True, slots=True)
class AuthenticationConfig:
    """Who must be known, and by whom (section `authentication`).

    `mode` "auto" becomes "required" with an authenticator and "off" without.
    """

    authenticator: Authenticator | None = None
    mode: str = "auto"
    deadline: float = seconds(10.0)
    warning: float = seconds(60.0)
    grace: float = seconds(25.0)

    def __post_init__(self) -> None:
        check_fields("authentication", self)
        given = self.authenticator
        if given is not None and (isinstance(given, type) or not callable(getattr(given, "authenticate", None))):
            got = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
            wanted = "an Authenticator, such as TokenAuthenticator(function)"
            raise ConfigError("authentication.authenticator", f"expected {wanted}, got {got}")
        if self.mode == "auto":
            object.__setattr__(self, "mode", "off" if given is None else "required")
        if self.mode not in _MODES:
            raise ConfigError("authentication.mode", f"expected one of {', '.join(_MODES)}, auto; got {self.mode!r}")
        if self.mode != "off" and given is None:
            raise ConfigError("authentication.authenticator", f"expected one, since mode is {self.mode!r}")
        for name in ("deadline", "warning", "grace"):
            between(f"authentication.{name}", getattr(self, name), 0, 86400.0, " seconds")
