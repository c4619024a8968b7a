"""The fuzz targets over their corpora, and over what Hypothesis comes up with: no fuzzer is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from fuzz.targets import TARGETS

CORPORA = Path(fuzz.__file__).parent / "corpus"
each_target = pytest.mark.parametrize("name", TARGETS)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPORA.iterdir()} == set(TARGETS)


@each_target
def test_the_corpus_holds(name: str) -> None:
    for path in sorted((CORPORA / name).iterdir()):
        TARGETS[name](path.read_bytes())


@each_target
@given(data=st.binary(max_size=200))
def test_anything_holds(name: str, data: bytes) -> None:
    TARGETS[name](data)
