from __future__ import annotations

from pathlib import Path

from tools.prose.python import python_passages

MODULE = '''\
#!/usr/bin/env python
"""A summary.

More of it.
"""

import logging

LATER = "this constant ends up in some error"
HEADER = "no-store"
# A comment
# on two lines.
# --- a line ---
x = 1  # trailing  # noqa
logger = logging.getLogger()  # type: ignore


class Thing:
    """A thing."""

    size: int = 3
    """The size."""

    def call(self, count: int) -> int:
        """Return it.

        Args:
            count: How many there are
                in all.
            other (int): The other one.

        Returns:
            A number.

        Raises:
            ValueError: If it is odd.

        Example:
            >>> nobody()
        """
        logger.warning("handler %s took %.1f s", count, 2.0)
        if count:
            raise ValueError(f"expected at most {count} things" + " in {place}".format(place=count))
        raise KeyError("one two" if count else f"{count} four")

    place = property(call, doc="The place.")

    def other(self) -> None:
        problem = "three words here"
        if self:
            problem = f"{self} is wrong"
        fault = SomeFault(4400, problem)
        print("print it")
        return fault
'''


def found(kind: str, source: str = MODULE) -> list[tuple[int, str]]:
    return [
        (passage.line, " ".join(passage.text.split()))
        for passage in python_passages(Path("a.py"), source)
        if passage.kind == kind
    ]


def test_docstrings_of_modules_classes_attributes_and_functions() -> None:
    assert sorted(found("docstring")) == [
        (2, "A summary."),
        (4, "More of it."),
        (19, "A thing."),
        (22, "The size."),
        (25, "Return it."),
        (28, "How many there are in all."),
        (30, "The other one."),
        (33, "A number."),
        (36, "If it is odd."),
        (46, "The place."),
    ]


def test_comments_are_joined_and_directives_skipped() -> None:
    assert found("comment") == [(11, "A comment on two lines."), (14, "trailing # noqa")]


def test_messages_of_errors_and_logs_and_sentences_elsewhere() -> None:
    assert sorted(found("message")) == [
        (9, "this constant ends up in some error"),
        (41, "handler ¤ took ¤ s"),
        (43, "expected at most ¤ things"),
        (43, "in ¤"),
        (44, "one two"),
        (44, "¤ four"),
        (49, "three words here"),
        (51, "¤ is wrong"),
    ]


def test_comments_and_messages_can_be_left_out() -> None:
    kinds = {passage.kind for passage in python_passages(Path("a.py"), MODULE, only_docstrings=True)}
    assert kinds == {"docstring"}
