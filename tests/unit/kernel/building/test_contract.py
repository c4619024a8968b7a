from __future__ import annotations

from typing import Any, Protocol

import pytest

from mycelia.errors import ConfigError
from mycelia.kernel.building.contract import Contract


class Base(Protocol):
    def close(self) -> None: ...


class Store(Base, Protocol):
    size: int

    @property
    def name(self) -> str: ...
    async def load(self, key: str) -> Any: ...


class Good:
    size, name = 1, "x"

    def close(self) -> None: ...
    async def load(self, key: str) -> Any: ...


def test_of_a_protocol() -> None:
    contract = Contract.of(Store)
    assert (contract.name, contract.methods, contract.properties) == (
        "Store",
        ("close", "load"),
        ("size", "name"),
    )
    assert contract.complaint(Good()) is None


def test_only_of_a_protocol() -> None:
    with pytest.raises(ConfigError, match=r"typing\.Protocol"):
        Contract.of(Good)


def test_complaints() -> None:
    contract = Contract("C", methods=("run",), properties=("size",), check=lambda facet: facet.problem)
    facet = type("F", (), {})()
    assert contract.complaint(facet) == "contract C expects run, size, which F lacks"
    facet.run, facet.size, facet.problem = 5, 1, None
    assert contract.complaint(facet) == "contract C expects run to be a method"
    facet.run = print
    assert contract.complaint(facet) is None
    facet.problem = "too small"
    assert contract.complaint(facet) == "contract C: too small"
