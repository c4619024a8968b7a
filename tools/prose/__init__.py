"""A linter for the project's prose: Markdown pages, docstrings, comments, and error and log messages.

Run `python -m tools.prose` to check the paths of `[tool.prose]` in pyproject.toml, or name paths to check those.
It is our own because the well-kept linters (Vale, proselint, textlint) read Markdown and at best comments. They cannot
tell docstrings and the strings of `raise` and log calls from other code.

What each rule means is in the module that implements it:

- `sentence-length`, `passive-chain`, `banned-term`: `tools.prose.rules`, with the terms in `tools.prose.terms`
- `summary-opener`: `tools.prose.summaries`
- `public-docstring`: `tools.prose.public_docstrings`
"""

__all__: list[str] = []
