from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.snippets import Snippet, SnippetError, find_snippets, run_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]

# Raise it only for an example that cannot run, and say why on the page.
MOST_SKIPPED = 0

SELF = Path("page.md")


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets_of(page: Path) -> list[Snippet]:
    return find_snippets(page.relative_to(ROOT), page.read_text())


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("page", PAGES, ids=names)
async def test_every_example_of_the_page_runs(page: Path) -> None:
    await run_page(snippets_of(page))


def test_hardly_any_example_is_left_out() -> None:
    skipped = [f"{found.place}: {found.reason}" for page in PAGES for found in snippets_of(page) if found.reason]
    assert len(skipped) <= MOST_SKIPPED, skipped


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text)
    files = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in files if not (page.parent / target).exists()] == []


# --- the finder and the runner themselves ------------------------------------------------------------


def page_of(*blocks: str, before: str = "") -> list[Snippet]:
    return find_snippets(SELF, "".join(f"text\n\n{before}\n```python\n{block}\n```\n" for block in blocks))


async def test_blocks_share_a_namespace_and_a_loop() -> None:
    await run_page(page_of("import asyncio\nx = await asyncio.sleep(0, 2)", "assert x == 2"))


async def test_classes_of_a_page_find_their_annotations() -> None:
    await run_page(
        page_of(
            "from __future__ import annotations\nimport msgspec\nclass A(msgspec.Struct):\n    n: B\nB = int",
            "import msgspec\nassert msgspec.convert({'n': 1}, A) == A(1)",
        )
    )


async def test_a_fresh_block_knows_nothing_of_those_before() -> None:
    with pytest.raises(NameError):
        await run_page(page_of("x = 1") + page_of("x", before="<!-- snippet: fresh -->"))


async def test_an_error_is_reported_at_its_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await run_page(page_of("1 / 0"))
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 5)


async def test_a_program_runs_by_itself_and_its_failure_shows_its_output() -> None:
    program = "import asyncio\nasync def main(): print('so far'); raise SystemExit({0})\nasyncio.run(main())"
    await run_page(page_of(program.format(0)))
    with pytest.raises(SnippetError, match=r"page.md:5: ended with status 3\nso far"):
        await run_page(page_of(program.format(3)))


SERVER = """import asyncio, signal
async def answer(reader, writer):
    writer.write(b"{0}")
    writer.close()
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with await asyncio.start_server(answer, "127.0.0.1", 8080):
        await stop.wait()
asyncio.run(main())"""

CLIENT = """import asyncio
reader, writer = await asyncio.open_connection("127.0.0.1", 8080)
assert await reader.read() == b"{0}"
writer.close()
await writer.wait_closed()"""


async def test_a_server_serves_the_blocks_after_it_until_the_next_server() -> None:
    serve = "<!-- snippet: serve -->"
    first = page_of(SERVER.format("one"), before=serve) + page_of(CLIENT.format("one"))
    second = page_of(SERVER.format("two"), before=serve) + page_of(CLIENT.format("two"))
    await run_page(first + second)


@pytest.mark.parametrize(
    ("server", "complaint"),
    [
        ("port = 8080; print('hello')", r"did not serve on its port\nhello"),
        (f"{SERVER}\nraise SystemExit(3)", "ended with status 3 after SIGINT"),
        (f"{SERVER}\nasyncio.sleep(0)", "was never awaited"),
    ],
)
async def test_a_server_that_does_not_start_or_end_well_fails(server: str, complaint: str) -> None:
    with pytest.raises(SnippetError, match=complaint):
        await run_page(page_of(server, before="<!-- snippet: serve -->"))


async def test_a_skipped_block_must_still_compile() -> None:
    await run_page(page_of("1 / 0", before="<!-- snippet: skip-run needs a printer -->"))
    with pytest.raises(SyntaxError):
        await run_page(page_of("1 /", before="<!-- snippet: skip-run needs a printer -->"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- snippet: skip-run -->\n```python\n```", "page.md:3: expected a reason"),
        ("<!-- snippet: skip me -->\n```python\n```", "page.md:1: expected one of"),
        ("<!-- snippet: serve -->\n```python\n```", "page.md:3: expected a block that names a port"),
        ("<!-- snippet: fresh -->\n```js\n```", "page.md:2: a snippet comment before a block that is not"),
        ("<!-- snippet: fresh -->\ntext", "page.md:2: expected a block after"),
    ],
)
def test_a_comment_that_says_nothing_useful_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(SnippetError, match=complaint):
        find_snippets(SELF, text)


def test_blocks_in_lists_and_longer_fences_are_found() -> None:
    text = "- item\n\n  ```python\n  x = 1\n  ```\n\n````python\n'''\n```\n'''\n````\n```text\nno\n```\n"
    assert [found.source for found in find_snippets(SELF, text)] == ["x = 1\n", "'''\n```\n'''\n"]
