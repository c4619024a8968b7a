from __future__ import annotations

import pytest

from tools.prose.sentences import sentences, words


def split(text: str) -> list[str]:
    return [sentence.quote for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Broken\nover lines. Next.", ["Broken over lines.", "Next."]),
        ("A colon: goes on; so does a semicolon.", ["A colon: goes on; so does a semicolon."]),
        ("Codes (e.g. 4404) are listed, i.e. known, etc. and so on.", None),
        ("Version 3.11 and `a.b. C` stay whole.", None),
        ("It says “no.” Then it ends.", ["It says “no.”", "Then it ends."]),
        ("(In brackets.) Outside.", ["(In brackets.)", "Outside."]),
        ("uvicorn starts. granian stops.", ["uvicorn starts.", "granian stops."]),
        ("Pass `raise X(…)` and so … on.", None),
        ("**Bold.** Next.", ["Bold.", "Next."]),
        ("", []),
        (" - \n", []),
    ],
)
def test_text_becomes_sentences(text: str, expected: list[str] | None) -> None:
    assert split(text) == (expected if expected is not None else [text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Three plain words.", 3),
        ("A well-known hyphenated compound.", 4),
        ("A dash – counts for nothing.", 5),
        ("Use `subsystem.on('error', call me)` here.", 3),
        ("Use ``double `ticks` inside`` here.", 3),
        ("See [the long page](https://example.org/a/b 'x').", 4),
        ("See [the page](../a.md#b).", 3),
        ("See <https://example.org/a?b=c> now.", 3),
        ("<b>Bold</b> and **bold** and _slanted_.", 5),
        ("snake_case and a*b stay.", 4),
    ],
)
def test_words_are_counted(text: str, expected: int) -> None:
    (sentence,) = sentences(text)
    assert words(sentence.text) == expected


def test_a_sentence_knows_its_line() -> None:
    assert [sentence.offset for sentence in sentences("One\ntwo. Three\nfour.\nFive.")] == [0, 1, 3]
