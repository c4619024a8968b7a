from __future__ import annotations

import pytest

from mycelia.errors import ConfigError
from mycelia.net.capabilities import Asked, check_asked

WORDS = {"tls": "encrypt", "flight": "fly"}
ABLE = {"tls": ["a", "b", "c"], "flight": ["c"]}


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Asked("tls", "tls", True), "tls: the engine 'x' cannot encrypt; a, b and c can"),
        (Asked("flight", "wings", True), "wings: the engine 'x' cannot fly; c can"),
    ],
)
def test_what_is_asked_and_cannot_be_done(asked: Asked, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_asked("the engine 'x'", (), [Asked("tls", "tls", False), asked], WORDS, ABLE.__getitem__)
    assert str(caught.value) == complaint
    check_asked("the engine 'x'", {asked.ability}, [asked], WORDS, ABLE.__getitem__)
