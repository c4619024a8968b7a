"""Samples for people who read, and numbers."""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from tools.prose.check import check, files, passages
from tools.prose.docstrings import docstring_nodes
from tools.prose.messages import messages
from tools.prose.sentences import sentences, words

__all__ = ["sample", "stats"]


def sample(paths: Collection[Path], count: int, seed: int) -> Iterator[str]:
    """Yield the lines of a random sample: `count` docstrings and `count` messages.

    Args:
        paths: The files and folders to draw from.
        count: How many of each kind.
        seed: The seed of the random numbers. One seed draws one sample from one state of the files.
    """
    docstrings, found = list[tuple[Path, int, str]](), list[tuple[Path, int, str]]()
    for path in files(paths):
        if path.suffix == ".py":
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            docstrings.extend((path, node.lineno, str(node.value)) for node in docstring_nodes(tree))
            found.extend(
                (path, node.lineno, ast.get_source_segment(source, node) or ast.unparse(node))
                for node in messages(tree)
            )
    rng = random.Random(seed)
    yield f"seed {seed}; {count} of {len(docstrings)} docstrings, {count} of {len(found)} messages"
    for title, population in (("Docstring", docstrings), ("Message", found)):
        for number, (path, line, text) in enumerate(rng.sample(population, min(count, len(population))), 1):
            yield f"\n--- {title} {number}: {path}:{line}\n{text.strip()}"


def stats(paths: Collection[Path]) -> Iterator[str]:
    """Yield the lines of a table: what there is to read, and how many findings each rule has in each folder."""
    lengths: dict[str, list[int]] = {}
    for path in files(paths):
        for passage in passages(path):
            lengths.setdefault(passage.kind, []).extend(words(one.text) for one in sentences(passage.text))
    for kind, counted in sorted(lengths.items()):
        mean = sum(counted) / max(1, len(counted))
        yield f"{kind:10} {len(counted):6} sentences, {mean:.1f} words each, the longest {max(counted, default=0)}"
    findings = check(paths)
    for (folder, rule), number in sorted(Counter((str(one.path.parent), one.rule) for one in findings).items()):
        yield f"{folder:45} {rule:18} {number:5}"
    yield f"{'all':45} {'':18} {len(findings):5}"
