"""Who must be known, and by whom: the section `authentication` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from mycelia.auth import Authenticator
from mycelia.auth.credential_check import settled_mode
from mycelia.config.sections import between, check_fields, seconds

__all__ = ["AuthenticationConfig"]


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
        object.__setattr__(self, "mode", settled_mode(self.authenticator, self.mode))
        for name in ("deadline", "warning", "grace"):
            between(f"authentication.{name}", getattr(self, name), 0, 86400.0, " seconds")
