from __future__ import annotations

import os
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidMessage
from mycelia.kernel.messages.context import Caller
from mycelia.kernel.messages.message import Delivery, Message, Metadata, new_trace_id, valid_trace_id

SYSTEM = Caller("system", "main")


def test_holds_what_it_is_given() -> None:
    message = Message("a://b", {"x": 1}, id="m1")
    assert (message.path, message.body, message.id) == ("a://b", {"x": 1}, "m1")
    assert repr(message) == "Message('a://b', {'x': 1})"


@pytest.mark.parametrize("name", ["path", "body", "id", "metadata", "anything"])
def test_is_immutable(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Message("a://b"), name, 1)


@pytest.mark.parametrize("name", ["trace_id", "caller", "principal", "connection_id", "client", "extra", "anything"])
def test_metadata_is_immutable(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Message("a://b").metadata, name, 1)


def test_id_and_trace_id_are_made_once_when_first_read() -> None:
    message = Message("a://b")
    assert message.id == message.id and re.fullmatch("[0-9a-f]{32}", message.id)
    assert message.metadata is message.metadata
    assert message.metadata.trace_id == message.metadata.trace_id
    assert Message("a://b").id != message.id
    assert Message("a://b").metadata.trace_id != message.metadata.trace_id


def test_trace_ids_are_valid_and_distinct() -> None:
    made = [new_trace_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(valid_trace_id(each) for each in made)


def test_a_forked_process_has_other_trace_ids() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_trace_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 200).decode()
    os.close(reading)
    os.close(writing)
    assert theirs.split("-")[0] != new_trace_id().split("-")[0]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("a", True),
        ("A-z_0.9", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        (None, False),
        (5, False),
        (b"a", False),
    ],
)
def test_valid_trace_id(text: object, valid: bool) -> None:
    assert valid_trace_id(text) is valid


@pytest.mark.parametrize(
    "given_metadata", [{"trace_id": "t1", "correlation_id": 7}, {"traceId": "t1", "correlationId": 7}]
)
def test_reads_metadata_in_both_spellings(given_metadata: dict[str, Any]) -> None:
    metadata = Message("a://b", None, {**given_metadata, "x": 1}).metadata
    assert (metadata.trace_id, metadata.correlation_id, metadata["x"]) == ("t1", 7, 1)
    assert (metadata.get("x"), metadata.get("y"), metadata.get("y", 2)) == (1, None, 2)
    assert "x" in metadata and "trace_id" not in metadata
    with pytest.raises(KeyError):
        metadata["y"]


@pytest.mark.parametrize(
    "key", ["caller", "principal", "connection_id", "connectionId", "client", "untrusted", "timestamp"]
)
def test_refuses_the_kernels_own_fields(key: str) -> None:
    with pytest.raises(InvalidMessage, match=f"'{key}' is set by the kernel"):
        Message("a://b", None, {key: "me"})


@pytest.mark.parametrize("wrong", [{"trace_id": "a b"}, {"traceId": 5}, {"trace_id": "a", "traceId": "b"}])
def test_refuses_bad_trace_ids(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        Message("a://b", None, wrong)


def test_metadata_handed_on_leaves_the_kernels_fields_behind() -> None:
    principal = SimpleNamespace(id="u", permissions=())
    forged = Metadata(
        trace_id="t",
        correlation_id=3,
        caller=SYSTEM,
        principal=principal,
        connection_id="c",
        client=1,
        extra={"x": 1},
    )
    got = Message("a://b", None, forged).metadata
    assert (got.trace_id, got.correlation_id, got["x"]) == ("t", 3, 1)
    assert (got.caller, got.principal, got.connection_id, got.client) == (None, None, None, None)


def test_with_body_keeps_the_rest() -> None:
    message = Message("a://b", 1, {"x": 2})
    other = message.with_body(5)
    assert (other.path, other.body, other.id, other.metadata) == ("a://b", 5, message.id, message.metadata)
    assert message.body == 1


def test_delivery_has_the_id_of_what_was_sent_and_the_kernels_metadata() -> None:
    sent = Message("a://b", 1, {"correlation_id": "c", "x": 2})
    delivery = Delivery(sent, SYSTEM, None, None)
    assert (delivery.id, delivery.path, delivery.body) == (sent.id, "a://b", 1)
    assert (delivery.metadata.caller, delivery.metadata.correlation_id, delivery.metadata["x"]) == (
        SYSTEM,
        "c",
        2,
    )
    assert delivery.metadata.trace_id == sent.metadata.trace_id
    assert sent.metadata.caller is None
    assert delivery.metadata.timestamp > 0


@pytest.mark.parametrize(("own", "parents", "expected"), [(None, "p", "p"), ("o", "p", "o"), ("o", None, "o")])
def test_delivery_trace_id(own: str | None, parents: str | None, expected: str) -> None:
    sent = Message("a://b", None, None if own is None else {"trace_id": own})
    assert Delivery(sent, SYSTEM, None, parents).metadata.trace_id == expected


def test_subclasses_make_their_own_metadata_once() -> None:
    made: list[Metadata] = []

    class Ours(Message):
        __slots__ = ()

        def _make_metadata(self) -> Metadata:
            made.append(Metadata(connection_id="c1"))
            return made[-1]

    message = Ours("a://b")
    assert made == []
    assert message.metadata is message.metadata is made[0]
    assert message.metadata.connection_id == "c1"


@given(st.dictionaries(st.text(), st.integers()))
def test_no_mapping_ever_sets_the_kernels_fields(values: dict[str, int]) -> None:
    try:
        metadata = Message("a://b", None, values).metadata
    except InvalidMessage:
        return
    assert [metadata.caller, metadata.principal, metadata.connection_id, metadata.client] == [None] * 4
