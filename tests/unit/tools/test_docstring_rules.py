from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.prose.public_api import public_functions
from tools.prose.public_docstrings import check_public_docstrings
from tools.prose.summaries import check_summaries


def summaries(source: str) -> list[str]:
    return [finding.quote for finding in check_summaries(Path("a.py"), ast.parse(source))]


@pytest.mark.parametrize(
    "opener",
    ["What", "Whether", "Who", "Whom", "Whose", "Where", "How", "When", "Of", "As", "Which", "Both", "It", "The same"],
)
def test_summaries_that_open_a_noun_clause(opener: str) -> None:
    assert summaries(f'"""{opener} it is that comes."""') == [f"{opener} it is that comes."]
    assert summaries(f'def f():\n    """{opener} it is."""') == [f"{opener} it is."]
    assert summaries(f'class A:\n    x = 1\n    """{opener} it is."""') == [f"{opener} it is."]


@pytest.mark.parametrize(
    "summary",
    [
        "Return the size.",
        "A queue.",
        "The states of a queue.",
        "Offer it.",
        "Assert it.",
        "Items.",
        "Howl.",
        "As-is copy.",
    ],
)
def test_summaries_that_start_with_a_verb_or_a_noun(summary: str) -> None:
    assert summaries(f'"""{summary}\n\nWhat follows is free.\n"""') == []


GOOD = '''
class A:
    def call(self, first: int, /, *rest: str, key: int = 1, **options: int) -> int:
        """Add them.

        Args:
            first: The first.
            *rest: The rest.
            key: A key.
            **options: More.

        Returns:
            The sum.

        Raises:
            ValueError: If it is odd.
            TypeError: Never.
        """
        def inner() -> None:
            raise KeyError
        try:
            raise LookupError("caught here")
        except LookupError:
            pass
        if key:
            raise errors.ValueError("odd")
        raise TypeError from None

    @property
    def size(self) -> int:
        """The size."""
        return 1

    def plain(self) -> int:
        """Return a number."""
        return 1

    def nothing(self) -> None:
        """Do nothing."""
        raise

    def overriding(self, a: int) -> int:
        return a
'''


def lacks(source: str) -> list[str]:
    functions = {("m", f"A.{name}") for name in ("call", "size", "plain", "nothing", "overriding")}
    return [finding.advice for finding in check_public_docstrings(Path("m.py"), ast.parse(source), "m", functions)]


def test_a_complete_docstring() -> None:
    assert lacks(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("            first: The first.\n", "", "first"),
        ("            *rest: The rest.\n", "", "rest"),
        ("            key: A key.\n", "", "key"),
        ("            **options: More.\n", "", "options"),
        ("        Args:\n", "        Arguments are\n", "first, rest, key, options"),
        ("        Returns:\n            The sum.\n", "", "`Returns:`"),
        ("Return a number", "Give a number", "`Returns:`"),
        ("            ValueError: If it is odd.\n", "", "ValueError"),
        ("            TypeError: Never.\n", "", "TypeError"),
    ],
)
def test_each_part_is_missed_when_it_is_removed(old: str, new: str, missing: str) -> None:
    assert GOOD.count(old) == 1
    (advice,) = lacks(GOOD.replace(old, new))
    assert missing in advice


def test_only_public_functions_are_checked() -> None:
    source = GOOD.replace("Return a number", "Give a number")
    assert list(check_public_docstrings(Path("m.py"), ast.parse(source), "m", {("m", "A.call")})) == []


def test_public_functions_are_those_that_packages_export() -> None:
    public = public_functions(["mycelia", "mycelia.websocket"])
    by_name = {name for _, name in public}
    assert {"BaseSubsystem.start", "WebSocketFacet.broadcast", "hook"} <= by_name
    assert all(module.startswith("mycelia.") for module, _ in public)
    assert not any(name.split(".")[-1].startswith("_") for name in by_name)
    assert "Code" not in by_name
