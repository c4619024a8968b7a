from __future__ import annotations

import pytest

from mycelia import ConfigError
from mycelia.auth import TokenAuthenticator
from mycelia.serving.config import settled_mode


def test_modes() -> None:
    some = TokenAuthenticator(lambda _: None)
    assert settled_mode(None, "auto") == settled_mode(None, "off") == "off"
    assert settled_mode(some, "auto") == "required"
    assert settled_mode(some, "off") == "off" and settled_mode(some, "optional") == "optional"
    for authenticator, mode in ((None, "required"), (some, "x"), (TokenAuthenticator, "auto"), (object(), "auto")):
        with pytest.raises(ConfigError):
            settled_mode(authenticator, mode)
