"""The command as a whole: what it prints and exits with, and that no rule can stop working unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelia import BaseSubsystem
from tools.prose.__main__ import main
from tools.prose.check import configured_paths

ROOT = Path(__file__).resolve().parents[3]

PAGE = """\
# Plain prose

The server closes the connection. It logs the reason.

| option | meaning |
|---|---|
| `limit` | the number of requests |
"""

SOURCE = '''\
"""A plain module."""

LATER = "the queue of this connection is full"


def check(size: int) -> None:
    """Raise an error if the size is too large."""
    # Large sizes cost memory.
    if size > 10:
        raise ValueError(f"expected at most 10 bytes, got {size}")
'''

LONG = " ".join(["word"] * 31)
PASSIVE = "What was sent is read and then is dropped"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "src" / "plain.py").write_text(SOURCE)
    (tmp_path / "pyproject.toml").write_text('[tool.prose]\npaths = ["page.md", "src"]\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plain_prose_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr() == ("", "0 findings in 2 files\n")


@pytest.mark.parametrize("seed", [LONG, PASSIVE, "It answers nobody of them all"])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("page.md", "Plain prose"),
        ("page.md", "It logs the reason"),
        ("page.md", "the number of requests"),
        ("src/plain.py", "A plain module"),
        ("src/plain.py", "Raise an error if the size is too large"),
        ("src/plain.py", "Large sizes cost memory"),
        ("src/plain.py", "the queue of this connection is full"),
        ("src/plain.py", "expected at most 10 bytes"),
    ],
)
def test_a_seeded_error_is_found_in_every_kind_of_prose(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, place: str, seed: str
) -> None:
    path = folder / name
    source = path.read_text()
    assert source.count(place) == 1
    path.write_text(source.replace(place, seed))
    line = source[: source.index(place)].count("\n") + 1
    assert main([]) == 1
    assert capsys.readouterr().out.startswith(f"{name}:{line}: ")


def test_a_seeded_noun_clause_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "src" / "plain.py"
    path.write_text(SOURCE.replace("A plain module", "What a module is"))
    assert main([]) == 1
    assert "src/plain.py:1: summary-opener: " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "found"), [("start", True), ("_start", False), ("unknown", False)])
def test_the_docstring_of_a_public_method_is_checked_where_its_class_is_defined(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, found: bool
) -> None:
    path = folder / "src" / Path(*BaseSubsystem.__module__.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(f'''class BaseSubsystem:\n    def {name}(self, size: int) -> int:\n        """Start it."""\n''')
    assert main([]) == int(found)
    assert capsys.readouterr().out.count("public-docstring") == (2 if found else 0)


def test_named_paths_are_checked_instead(folder: Path) -> None:
    (folder / "other.md").write_text("It answers nobody.\n")
    assert main([]) == 0
    assert main(["other.md"]) == 1
    assert main(["page.md"]) == 0


def test_a_path_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main(["missing.md"])
    (folder / "pyproject.toml").write_text('[tool.prose]\npaths = ["missing.md"]\n')
    with pytest.raises(SystemExit, match=r"no such file or folder: missing\.md"):
        main([])


def test_a_sample_is_drawn_by_its_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed in ("1", "1", "2"):
        assert main(["--sample", "1", "--seed", seed, "src"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert outputs[0].startswith("seed 1; 1 of 2 docstrings, 1 of 1 messages\n")
    assert outputs[0].count("--- Docstring") == outputs[0].count("--- Message") == 1


def test_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.md").write_text("It answers nobody.\n")
    assert main(["--stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["all", "1"]
    assert lines[-2].split() == [".", "banned-term", "1"]
    assert any(line.split()[:2] == ["message", "2"] for line in lines)


def test_the_project_switches_on_paths_that_exist() -> None:
    assert Path("tools") in configured_paths(ROOT)
