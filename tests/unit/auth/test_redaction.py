from __future__ import annotations

from mycelia.auth import Credential
from mycelia.auth.redaction import redact, secrets_of, traceback_without


def test_secrets_are_redacted_in_every_encoding() -> None:
    assert redact("KeyError: 'a\\nb' and a\nb", ["a\nb"]) == "KeyError: '***' and ***"
    assert redact("abcabcd", ["abc", "abcd", ""]) == "******"
    assert redact("?a=x%2Fy%20z&b=x/y%20z&c=x%2Fy+z", ["x/y z"]) == "?a=***&b=***&c=***"
    assert redact("\ud800", ["\ud800"]) == "***"
    try:
        try:
            raise KeyError("s3cret")
        except KeyError as inner:
            raise ValueError("s3cret is not good") from inner
    except ValueError as fault:
        text = traceback_without(fault, ["s3cret"])
    assert "s3cret" not in text and "KeyError" in text and "ValueError" in text


def test_what_of_a_credential_is_secret() -> None:
    assert secrets_of(Credential("t", "query", {"theme": "dark", "sid": "0123456789"})) == ["t", "0123456789"]
    assert secrets_of(Credential(None, None, {"n": "1"})) == []
