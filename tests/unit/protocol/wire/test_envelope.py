"""Envelopes and mappings: what one says, the other says."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from mycelia.errors import MyceliaError
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import (
    Envelope,
    Event,
    Fault,
    ProtocolFault,
    Request,
    Response,
    ResponseMetadata,
    from_mapping,
    is_sound,
    to_mapping,
)
from tests.support.names import shown

PAIRS: list[tuple[Envelope, dict[str, Any]]] = [
    (Request(), {}),
    (Request("a://b"), {"path": "a://b"}),
    (Request("a://b", 0, False, {}), {"path": "a://b", "body": 0, "correlationId": False, "metadata": {}}),
    (Response(True), {"success": True, "data": None, "correlationId": None, "error": None}),
    (
        Response(False, None, 1, Fault("X", "m")),
        {
            "success": False,
            "data": None,
            "correlationId": 1,
            "error": {"code": "X", "message": "m", "details": None, "retryable": False},
        },
    ),
    (
        Response(True, [], "c", None, {"traceId": "t", "timestamp": 1}),
        {
            "success": True,
            "data": [],
            "correlationId": "c",
            "error": None,
            "metadata": {"traceId": "t", "timestamp": 1},
        },
    ),
    (Event("e"), {"event": "e", "data": None}),
    (
        Event("e", 1, "t", 0, "ep", {"a": 1}),
        {"event": "e", "data": 1, "topic": "t", "offset": 0, "epoch": "ep", "metadata": {"a": 1}},
    ),
]


@pytest.mark.parametrize(("envelope", "mapping"), PAIRS, ids=repr)
def test_envelopes_and_mappings(envelope: Envelope, mapping: dict[str, Any]) -> None:
    assert to_mapping(envelope) == mapping
    assert list(to_mapping(envelope)) == list(mapping)
    assert from_mapping(mapping) == envelope
    assert from_mapping(MappingProxyType(mapping)) == envelope


def test_typed_metadata_becomes_a_mapping() -> None:
    mapping = to_mapping(Response(True, metadata=ResponseMetadata("t", 5)))
    assert mapping["metadata"] == {"traceId": "t", "timestamp": 5}
    assert list(mapping) == ["success", "data", "correlationId", "error", "metadata"]


def test_envelopes_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Request("a://b").path = "c://d"  # type: ignore[misc]  # the very thing under test


def test_a_fault_says_key_expected_and_received() -> None:
    with pytest.raises(ProtocolFault) as caught:
        from_mapping({"path": 5, "correlationId": {"a": 1}})
    fault = caught.value
    assert fault.code is Code.INVALID_MESSAGE
    assert fault.message == "path: expected string, got integer"
    assert fault.details == {"key": "path", "expected": "string", "received": "integer"}
    assert fault.correlation_id == {"a": 1}
    assert str(fault) == "INVALID_MESSAGE: path: expected string, got integer"
    assert isinstance(fault, MyceliaError)
    assert (fault.blame, fault.retryable) == ("remote", False)


@pytest.mark.parametrize("correlation", [2**63, float("nan"), object(), {1: 2}], ids=shown)
def test_a_correlation_id_that_cannot_be_echoed_is_not(correlation: object) -> None:
    with pytest.raises(ProtocolFault) as caught:
        from_mapping({"path": 5, "correlationId": correlation})
    assert caught.value.correlation_id is None


@pytest.mark.parametrize("value", [None, 1, "a", [], b"", object(), {"path"}], ids=shown)
def test_only_objects_are_envelopes(value: object) -> None:
    with pytest.raises(ProtocolFault, match="expected an object"):
        from_mapping(value)


def test_what_is_missing_inside_an_error_is_nothing() -> None:
    with pytest.raises(ProtocolFault, match=r"error\.message: expected string, got nothing"):
        from_mapping({"success": False, "error": {"code": "X"}})


NAN = float("nan")


@pytest.mark.parametrize(
    "envelope",
    [
        Request("a://b", NAN),
        Request("a://b", None, NAN),
        Request("a://b", None, None, {"a": NAN}),
        Response(True, NAN),
        Response(True, None, [NAN]),
        Response(False, None, None, Fault("X", "m", {"a": NAN})),
        Response(True, metadata={"a": NAN}),
        Event("e", NAN),
        Event("e", None, "t", 2**63),
        Event("e", metadata={"a": NAN}),
    ],
    ids=repr,
)
def test_no_free_value_escapes(envelope: Envelope) -> None:
    assert not is_sound(envelope)


@pytest.mark.parametrize("envelope", [envelope for envelope, _ in PAIRS], ids=repr)
def test_sound_envelopes(envelope: Envelope) -> None:
    assert is_sound(envelope)
