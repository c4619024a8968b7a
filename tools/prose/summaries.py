"""The rule for docstring summaries.

`summary-opener`: a summary does not open with a noun clause (`What the client …`, `Whether …`), with an inverted phrase
(`Of a WebSocket …`, `As far as …`) or with a reference back (`Both of these …`). It starts with a verb
(`Return the …`). The summary of a class or module may start with a noun phrase (`A bounded FIFO of …`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools.prose.docstrings import docstring_nodes
from tools.prose.model import Finding

__all__ = ["check_summaries"]

_OPENER = re.compile(
    r"(?:What(?:ever)?|Whether|Who(?:ever|m|se)?|Where(?:ver)?|How|When(?:ever)?|Which(?:ever)?|Why|That|Of|As|"
    r"Both|Such|Those|These|The same|They|It|Its|Nothing|None)\b(?!-)"
)


def check_summaries(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Yield a finding for each docstring whose first line opens with a noun clause."""
    for node in docstring_nodes(tree):
        summary = str(node.value).strip().split("\n")[0]
        if opener := _OPENER.match(summary):
            advice = f'the summary opens with "{opener[0]}"; start with a verb ("Return …", "Raise X if …") or a noun'
            yield Finding(path, node.lineno, "summary-opener", summary, advice)
