from __future__ import annotations

import pytest

from tests.conformance.autobahn import ASGI, SERVERS, Subject, Verdict, failures, read_verdicts, surprises, table

INDEX = {
    "7.1.10": {"behavior": "OK", "behaviorClose": "UNCLEAN"},
    "7.1.5": {"behavior": "FAILED", "behaviorClose": "WRONG CODE"},
    "6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "OK"},
    "1.1.1": {"behavior": "OK", "behaviorClose": "OK"},
}


def test_verdicts_come_in_the_order_of_the_cases() -> None:
    assert [verdict.case for verdict in read_verdicts(INDEX)] == ["1.1.1", "6.4.1", "7.1.5", "7.1.10"]


@pytest.mark.parametrize(
    ("behavior", "close", "outcome"),
    [
        ("OK", "OK", "OK"),
        ("OK", "INFORMATIONAL", "INFORMATIONAL"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("OK", "WRONG CODE", "WRONG CODE"),
        ("FAILED", "OK", "FAILED"),
    ],
)
def test_the_worse_of_messages_and_close_counts(behavior: str, close: str, outcome: str) -> None:
    assert Verdict("1.1.1", behavior, close).outcome == outcome


def test_only_expected_failures_are_let_through() -> None:
    verdicts = read_verdicts(INDEX)
    assert surprises("websockets", verdicts) == ["websockets 7.1.10: OK, close UNCLEAN"]
    assert len(surprises("picows", verdicts)) == 2
    assert surprises("picows", []) == ["picows: no case ran"]


def test_what_fails_without_us_too_is_let_through() -> None:
    verdicts = read_verdicts(INDEX)
    assert failures(verdicts) == ["7.1.5", "7.1.10"]
    assert surprises("asgi-uvicorn", verdicts, ["7.1.5", "9.1.1"]) == ["asgi-uvicorn 7.1.10: OK, close UNCLEAN"]
    assert surprises("asgi-uvicorn", verdicts, failures(verdicts)) == []


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("engine", ASGI)
def test_subjects_under_a_server(engine: str, server: str) -> None:
    subject = Subject.under(server, engine)
    assert subject.name == f"{engine}-{server}"
    words = subject.command.format(port=9001, most=1).split()
    assert words[-1] == ASGI[engine] and words[words.index("--port") + 1] == "9001" and server in words


def test_the_table_counts_every_case_and_lists_what_is_not_ok() -> None:
    lines = table({"picows": read_verdicts(INDEX)}).splitlines()
    assert lines[1].split() == ["picows", "1", "1", "0", "0", "2", "4"]
    assert [line.split(":")[0] for line in lines[2:]] == ["picows 6.4.1", "picows 7.1.5", "picows 7.1.10"]
