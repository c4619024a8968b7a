from __future__ import annotations

from pathlib import Path

from tools.prose.markdown import blocks, markdown_passages

PAGE = """\
# A heading

A paragraph
on two lines.

- an item
  that goes on
- another

    code in an item is not told from prose

1. numbered

```python
nobody = "code"
```

> quoted
> twice

| name | what |
|---|---:|
| `a|b` | cell with a \\| bar |

    indented code

<!-- a comment
over lines -->
After it.

[link]: https://example.org
~~~
```
nobody
~~~
  ```sh
  nobody
  ```
End.
"""


def test_a_page_becomes_blocks_with_their_lines() -> None:
    assert list(blocks(PAGE, 1)) == [
        (1, "A heading"),
        (3, "A paragraph\non two lines."),
        (6, "  an item\n  that goes on"),
        (8, "  another"),
        (10, "    code in an item is not told from prose"),
        (12, "   numbered"),
        (18, "quoted\ntwice"),
        (21, "name"),
        (21, "what"),
        (23, "`a|b`"),
        (23, "cell with a \\| bar"),
        (29, "After it."),
        (39, "End."),
    ]


def test_passages_name_their_file() -> None:
    (passage,) = markdown_passages(Path("a.md"), "\nText.\n")
    assert (passage.path, passage.line, passage.kind, passage.text) == (Path("a.md"), 2, "markdown", "Text.")
