from __future__ import annotations

import gc
import weakref

import pytest

from mycelia.errors import ConfigError
from mycelia.observability.error_log import RECORDING, ErrorLog, ErrorRecord, ErrorsConfig
from mycelia.serving.internal_error import internal_error


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def add(log: ErrorLog, error: BaseException, path: str = "app://x") -> ErrorRecord:
    return log.add("it failed", error, path=path, connection_id="c", trace_id="t")


def test_the_newest_come_first_and_the_oldest_go() -> None:
    log = ErrorLog(ErrorsConfig(records=3))
    records = [add(log, raised(ValueError(number))) for number in range(5)]
    assert log.newest(10) == records[:1:-1] and log.newest(1) == records[-1:]
    assert (len(log), log.total) == (3, 5)


def test_kinds_are_counted_by_path_exception_and_place() -> None:
    log = ErrorLog(ErrorsConfig())
    one, two = raised(ValueError("a")), raised(KeyError("a"))
    assert [add(log, one).count, add(log, one).count, add(log, one, "app://y").count, add(log, two).count] == [
        1,
        2,
        1,
        1,
    ]
    assert add(log, ValueError()).place == "", "it was never raised"


def test_the_kinds_are_bounded_and_the_one_unseen_for_longest_goes() -> None:
    log = ErrorLog(ErrorsConfig(fingerprints=2))
    error = ValueError()
    for path in ("a://a", "b://b", "a://a", "c://c"):
        add(log, error, path)
    assert add(log, error, "a://a").count == 3
    assert add(log, error, "b://b").count == 1


def test_nothing_of_the_exception_is_kept() -> None:
    class Heavy(Exception):
        pass

    log = ErrorLog(ErrorsConfig())
    error = raised(Heavy("secret"))
    record, gone = add(log, error), weakref.ref(error)
    del error
    gc.collect()
    assert gone() is None and "secret" not in str(record.describe())
    assert record.exception.endswith("Heavy") and record.place.startswith("raised (test_error_log.py:")


@pytest.mark.parametrize("body", [None, {}, {"limit": "many"}, {"limit": 0}, {"limit": -1}, [], "x"])
def test_a_limit_that_makes_no_sense_is_twenty(body: object) -> None:
    log = ErrorLog(ErrorsConfig())
    for _ in range(30):
        add(log, ValueError())
    report = log.report(body)
    assert (report["total"], len(report["errors"])) == (30, 20)


def test_an_apology_is_kept_where_the_task_says() -> None:
    log = ErrorLog(ErrorsConfig())
    token = RECORDING.set(log)
    try:
        fault = internal_error("it failed", "c", ValueError("secret"), trace_id="t", path="app://x")
    finally:
        RECORDING.reset(token)
    [record] = log.newest(5)
    assert fault.details == {"errorId": record.id} and record.path == "app://x"


@pytest.mark.parametrize("wrong", [{"records": 0}, {"records": 10**6}, {"fingerprints": 0}])
def test_bounds_have_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="errors"):
        ErrorsConfig(**wrong)
