"""The page docs/topics/threat-model.md: every attack has a defence and tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.support.proofs import ROOT, missing

PAGE = ROOT / "docs" / "topics" / "threat-model.md"
ATTACKERS = frozenset(re.findall(r"^\| \*\*(\w[\w ]*)\*\* \|", PAGE.read_text(), re.MULTILINE))
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and line.count("|") == 5 and not line.startswith("| attack |")
]


def test_the_page_names_its_attackers_and_every_kind_of_attack() -> None:
    assert len(ATTACKERS) == 6
    assert len(ROWS) >= 25
    assert {row[1] for row in ROWS} <= ATTACKERS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0])[:40])
def test_every_attack_has_a_defence_and_tests_that_exist(row: list[str]) -> None:
    _, _, defence, proofs = row
    assert defence
    assert [fault for proof in proofs.split("<br>") if (fault := missing(proof))] == []
