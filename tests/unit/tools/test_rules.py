from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.prose.model import MARKDOWN, Passage
from tools.prose.passive import passive_phrases
from tools.prose.rules import MOST_WORDS, check_sentences
from tools.prose.terms import TERMS, banned_terms


def broken(text: str) -> list[str]:
    return [finding.rule for finding in check_sentences(Passage(Path("a.md"), 1, MARKDOWN, text))]


def test_a_sentence_of_thirty_words_is_allowed_and_one_of_thirty_one_is_not() -> None:
    allowed = " ".join(["word"] * MOST_WORDS)
    assert broken(f"{allowed}. {allowed}.") == []
    assert broken(f"{allowed}. {allowed} more.") == ["sentence-length"]


def test_code_is_one_word() -> None:
    rest = " ".join(["word"] * (MOST_WORDS - 1))
    assert broken(f"{rest} `a b c d e`.") == []
    assert broken(f"{rest} a b.") == ["sentence-length"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The request is refused.", ["is refused"]),
        ("It has not yet been sent.", ["been sent"]),
        ("It was never fully read and is kept.", ["was never fully read", "is kept"]),
        ("It is decoded, checked and stored.", ["is decoded"]),
        ("It gets closed, and they got lost.", ["gets closed", "got lost"]),
        ("It isn't written, and cannot be overridden.", ["isn't written", "be overridden"]),
        ("The server closes it.", []),
        ("It is a need, it is based on speed, and is limited.", []),
        ("The value is unchanged and the list is nested.", []),
        ("It is in a closed state.", []),
    ],
)
def test_passive_phrases(text: str, expected: list[str]) -> None:
    assert list(passive_phrases(text)) == expected


def test_two_passive_phrases_are_allowed_and_three_are_a_chain() -> None:
    assert broken("What was sent is read.") == []
    assert broken("What was sent is read and then is dropped.") == ["passive-chain"]
    assert broken("What was sent is read. Then it is dropped.") == []


BAD = [
    "Whoever comes late waits.",
    "It answers nobody.",
    "Somebody asks, and anyone may call.",
    "Who comes late waits.",
    "It depends on who asks.",
    "Say goodbye.",
    "A good-bye from the client.",
    "It takes a baton.",
    "Batons go round.",
    "Judged by the gate.",
    "The judgement is final.",
    "The client is told.",
    "It fails at the door.",
    "Ask the gate.",
    "There is no room.",
    "It has no place.",
    "Expected a text, got a number.",
    "A list of texts.",
    "A stall of the loop.",
    "An apology goes out.",
    "Bytes of strangers.",
    "Under pressure it refuses.",
    "The carriage runs.",
    "The outbox is full.",
    "Its refusals are counted.",
    "The rules of the house.",
    "A parting client.",
    "Both of these hold.",
    "Of what is none, it says so.",
    "An alarm rings for the abilities.",
    "It takes attendance.",
    "The dialect of this client.",
    "Its holdings are full.",
    "An inbound message arrives.",
    "The intake reads it.",
    "A misread request.",
    "Pacing of the reader.",
    "The rider of a session.",
    "A starved client.",
    "It unveils the client.",
    "The verdict on a frame.",
    "Relief comes late.",
    "Shedding starts.",
    "It skims the message.",
    "A crowded message.",
    "Secrets are blanked out.",
    "The far end closes.",
    "The front door of the package.",
    "For another's sake it waits.",
    "It misses a beat.",
    "The phase of the connection.",
    "The gate decides.",
    "A place to listen.",
    "Its place is free.",
    "Imports between upper floors.",
    "The rooms of the house.",
    "It is none of these.",
    "What it is that comes.",
    "It works as ever.",
    "All the same it closes.",
    "It says of itself that it works.",
    "The connection goes under.",
    "Wait, lest it fails.",
]


@pytest.mark.parametrize("text", BAD)
def test_banned_terms(text: str) -> None:
    assert list(banned_terms(text)), "expected a finding"
    assert "banned-term" in broken(text)


@pytest.mark.parametrize("pattern", TERMS)
def test_every_pattern_matches_one_of_these_sentences(pattern: str) -> None:
    assert any(re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE) for text in BAD)


@pytest.mark.parametrize(
    "text",
    [
        "A chat room opens its door sensor.",
        "Join the room lobby; the room id is 7.",
        "A text frame carries a text message.",
        "The text is UTF-8, in a text file.",
        "Backpressure and memory pressure.",
        "Users who log in, clients for whom it matters.",
        "Who may call what?",
        "Load shedding starts.",
        "Decimal places, in place of X, takes place.",
        "A logic gate, a gateway and an outdoor sensor.",
        "A carriage return ends the line.",
        "Use `outbox_bytes`, `judge()` and `nobody`.",
        "The parts of a multipart body; one part of it.",
        "The floor of the quotient.",
        "The connection refused it.",
        "The store for the session is stalled.",
        "The inverse holds everywhere.",
        "They told us; we tell the user.",
        "A partition, an adjudged-free word.",
    ],
)
def test_the_same_words_in_their_usual_meaning(text: str) -> None:
    assert list(banned_terms(text)) == [] or "`" in text
    assert broken(text) == []


def test_a_finding_names_file_line_rule_sentence_and_what_to_do() -> None:
    (finding,) = check_sentences(Passage(Path("docs/a.md"), 7, MARKDOWN, "Fine.\nIt takes a **baton**."))
    assert str(finding) == (
        'docs/a.md:8: banned-term: "baton" is banned; write: fair scheduler, or a slot of it\n    It takes a **baton**.'
    )
