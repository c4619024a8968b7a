"""The page docs/reference/seed.md: every requirement once, and only tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.support.proofs import ROOT, missing

PAGE = ROOT / "docs" / "reference" / "seed.md"
NUMBERS = range(1, 127)
ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<asked>[^|]+) \| (?P<proof>[^|]+) \|$")
LATER = re.compile(r"^later: (.+)$")

# The parts of the product that are not built yet, and the requirements that wait for each.
WAITING = {
    "sessions": {120},
    "nodes": {121},
}


def rows() -> list[tuple[int, list[str]]]:
    """Number and proofs of every row of the page's tables."""
    found = (ROW.match(line) for line in PAGE.read_text().splitlines())
    return [(int(row["number"]), row["proof"].split("<br>")) for row in found if row]


def test_every_number_is_there_once_and_in_order() -> None:
    assert [number for number, _ in rows()] == list(NUMBERS)


@pytest.mark.parametrize(("number", "proofs"), rows(), ids=lambda value: str(value)[:4])
def test_every_requirement_has_tests_that_exist_or_says_later(number: int, proofs: list[str]) -> None:
    named = 0
    for proof in proofs:
        if later := LATER.match(proof):
            assert number in WAITING[later[1]], f"{number} does not wait for {later[1]}"
            continue
        assert missing(proof) is None, missing(proof)
        named += 1
    assert named or any(LATER.match(proof) for proof in proofs)


def test_what_waits_says_so() -> None:
    waiting = {number for number, proofs in rows() if any(LATER.match(proof) for proof in proofs)}
    assert waiting == set().union(*WAITING.values())
