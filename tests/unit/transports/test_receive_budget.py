from __future__ import annotations

import pytest

from mycelia.transports.receive_budget import ReceiveBudget


class BudgetHolder:
    """Holds what it is told to, and nothing after it was failed."""

    def __init__(self, budget: ReceiveBudget) -> None:
        self.held_bytes = 0
        self.failures: list[int] = []
        self._budget = budget

    def hold(self, size: int) -> None:
        before, self.held_bytes = self.held_bytes, size
        self._budget.changed(self, size - before)

    def fail(self, code: int, reason: str) -> None:
        self.failures.append(code)
        self.hold(0)


@pytest.mark.parametrize(("limit", "message", "effective"), [(100, 10, 100), (100, 50, 100), (100, 60, 120)])
def test_the_limit_has_room_for_two_messages(limit: int, message: int, effective: int) -> None:
    assert ReceiveBudget(limit, message).limit_bytes == effective


def test_up_to_the_limit_and_one_more() -> None:
    budget = ReceiveBudget(100, 10)
    small, large, other = (BudgetHolder(budget) for _ in range(3))
    small.hold(30)
    large.hold(40)
    other.hold(30)
    assert budget.total_bytes == 100 and not large.failures
    small.hold(31)
    assert (small.failures, large.failures, other.failures) == ([], [1012], [])
    assert budget.total_bytes == 61
    small.hold(0)
    other.hold(0)
    assert budget.total_bytes == 0


def test_one_that_lets_nothing_go_is_asked_once() -> None:
    budget = ReceiveBudget(100, 10)
    stuck, other = BudgetHolder(budget), BudgetHolder(budget)
    stuck.fail = lambda code, reason: stuck.failures.append(code)  # type: ignore[method-assign]  # it hangs up already
    stuck.hold(101)
    assert stuck.failures == [1012]
    other.hold(50)
    assert (stuck.failures, other.failures) == ([1012, 1012], [1012])
    stuck.hold(0)
    assert budget.total_bytes == 0


def test_whoever_asks_for_too_much_may_be_the_largest() -> None:
    budget = ReceiveBudget(100, 10)
    only = BudgetHolder(budget)
    only.hold(101)
    assert only.failures == [1012] and budget.total_bytes == 0
