"""Finds the Python examples of a Markdown page and runs them as a reader would.

The blocks of one page run in order, in one namespace, inside one event loop (`await` at the top level
works). A block that calls `asyncio.run(` is a program: it runs by itself, in a Python of its own, and
must end by itself. What a block needs said about it stands in a comment on a line before it:

    <!-- snippet: serve -->             a program that serves; it is started, awaited on its port, left
                                        running for the rest of the page (or until the next `serve`),
                                        then gets what Ctrl-C sends, and must end without a complaint
    <!-- snippet: fresh -->             the block begins a new namespace
    <!-- snippet: skip-run <reason> --> the block is compiled and not run

The ports 8080 to 8089 are replaced by free ones, the same for a whole page.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal, get_args

__all__ = ["Kind", "Snippet", "SnippetError", "find_snippets", "run_page"]

Kind = Literal["inline", "program", "serve", "skip-run"]
Directive = Literal["serve", "fresh", "skip-run"]

_FENCE = re.compile(r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})[ ]*(?P<language>[\w+-]*)[^`\n]*$")
_DIRECTIVE = re.compile(r"^\s*<!--\s*snippet:\s*(?P<name>[\w-]+)\s*(?P<text>.*?)\s*-->\s*$")
_PORT = re.compile(r"\b808\d\b")
_COMPLAINT = re.compile(r"Warning: |was never retrieved|was destroyed but it is pending")
_PATIENCE = 20.0  # seconds for a program to end, or to open its port


class SnippetError(Exception):
    """An example that is written wrongly or does not do what its page says; the text names file and line."""


@dataclass(frozen=True)
class Snippet:
    """One Python block: where it stands and how it is to be run."""

    page: Path
    line: int  # of its first line of code
    source: str
    kind: Kind
    fresh: bool = False
    reason: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def find_snippets(page: Path, text: str) -> list[Snippet]:
    """Every fenced block of `page` marked `python`, in order."""
    found: list[Snippet] = []
    directives: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if directive := _DIRECTIVE.match(line):
            name = directive["name"]
            if name not in get_args(Directive):
                raise SnippetError(f"{page}:{number}: expected one of {get_args(Directive)}, got {name!r}")
            directives[name] = directive["text"]
        elif fence := _FENCE.match(line):
            block = _block(lines, fence["fence"])
            if fence["language"] in ("python", "py"):
                found.append(_snippet(page, number + 1, textwrap.dedent(block), directives))
            elif directives:
                raise SnippetError(f"{page}:{number}: a snippet comment before a block that is not python")
            directives = {}
        elif line.strip() and directives:
            raise SnippetError(f"{page}:{number}: expected a block after the snippet comment, got text")
    return found


async def run_page(snippets: list[Snippet]) -> None:
    """Run the blocks of one page; the first that goes wrong raises, and every server is stopped."""
    ports = _Ports()
    async with AsyncExitStack() as whole_page:
        namespace = whole_page.enter_context(_namespace())
        server = await whole_page.enter_async_context(AsyncExitStack())
        for snippet in snippets:
            source = ports.replaced(snippet.source)
            if snippet.fresh:
                namespace = whole_page.enter_context(_namespace())
            if snippet.kind == "skip-run":
                _compiled(snippet, source)
            elif snippet.kind == "program":
                await _run_program(snippet, source)
            elif snippet.kind == "serve":
                await server.aclose()
                await server.enter_async_context(_served(snippet, source, ports.used(snippet.source)))
            else:
                await _run_inline(snippet, source, namespace)


class _Ports:
    """The free ports that stand for those of one page."""

    def __init__(self) -> None:
        self._free: dict[str, int] = {}

    def replaced(self, source: str) -> str:
        return _PORT.sub(lambda match: str(self._port(match[0])), source)

    def used(self, source: str) -> list[int]:
        return [self._port(written) for written in dict.fromkeys(_PORT.findall(source))]

    def _port(self, written: str) -> int:
        if written not in self._free:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self._free[written] = int(probe.getsockname()[1])
        return self._free[written]


@contextmanager
def _namespace() -> Iterator[dict[str, object]]:
    # A real module: dataclasses and structs look up their annotations in it.
    module = ModuleType("page_of_the_documentation")
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield vars(module)
    finally:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before


def _block(lines: Iterator[tuple[int, str]], fence: str) -> str:
    inside: list[str] = []
    for _, line in lines:
        if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            break
        inside.append(line)
    return "\n".join(inside) + "\n"


def _snippet(page: Path, line: int, source: str, directives: dict[str, str]) -> Snippet:
    kind: Kind = "program" if "asyncio.run(" in source else "inline"
    if "skip-run" in directives:
        if not directives["skip-run"]:
            raise SnippetError(f"{page}:{line}: expected a reason after skip-run")
        kind = "skip-run"
    elif "serve" in directives:
        if not _PORT.search(source):
            raise SnippetError(f"{page}:{line}: expected a block that names a port from 8080 to 8089")
        kind = "serve"
    return Snippet(page, line, source, kind, "fresh" in directives, directives.get("skip-run", ""))


def _compiled(snippet: Snippet, source: str) -> CodeType:
    # Padding makes the line numbers of a traceback those of the page.
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile("\n" * (snippet.line - 1) + source, str(snippet.page), "exec", flags, dont_inherit=True)
    assert isinstance(code, CodeType)
    return code


async def _run_inline(snippet: Snippet, source: str, namespace: dict[str, object]) -> None:
    code = _compiled(snippet, source)
    result = eval(code, namespace)
    if inspect.iscoroutine(result):
        await result


async def _run_program(snippet: Snippet, source: str) -> None:
    process = await _started(source)
    try:
        async with asyncio.timeout(_PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise SnippetError(f"{snippet.place}: did not end within {_PATIENCE:g} s\n{output.decode()}") from None
    if process.returncode != 0:
        raise SnippetError(f"{snippet.place}: ended with status {process.returncode}\n{output.decode()}")


@asynccontextmanager
async def _served(snippet: Snippet, source: str, ports: list[int]) -> AsyncIterator[None]:
    process = await _started(source)
    reading = asyncio.create_task(process.communicate())
    try:
        opening = asyncio.create_task(_all_open(ports))
        await asyncio.wait({opening, reading}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            process.kill() if not reading.done() else None
            output, _ = await reading
            raise SnippetError(f"{snippet.place}: did not serve on its port\n{output.decode()}")
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, slow = await asyncio.wait({reading}, timeout=_PATIENCE)
        if slow:
            process.kill()
        output, _ = await reading
    text = output.decode()
    if slow:
        raise SnippetError(f"{snippet.place}: did not end within {_PATIENCE:g} s of SIGINT\n{text}")
    if process.returncode not in (0, -signal.SIGINT) or _COMPLAINT.search(text):
        raise SnippetError(f"{snippet.place}: ended with status {process.returncode} after SIGINT\n{text}")


async def _started(source: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-c", source,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def _all_open(ports: list[int]) -> None:
    for port in ports:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # nothing tells us when another process begins to listen
            else:
                writer.close()
                await writer.wait_closed()
                break
