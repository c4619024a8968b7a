"""The golden vectors, which every implementation of the wire language must pass, run against our codecs."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mycelia.protocol.wire.codec import codec
from mycelia.protocol.wire.envelope import Event, ProtocolFault, Request, Response, from_mapping, to_mapping

VECTORS = Path(__file__).parents[2] / "vectors"
KINDS = {"requests": Request, "responses": Response, "events": Event}


def load(theme: str) -> list[Any]:
    vectors = json.loads((VECTORS / f"{theme}.json").read_text("utf-8"))["vectors"]
    return [pytest.param(vector, id=f"{theme}-{vector['encoding']}-{vector['name']}") for vector in vectors]


def payload(vector: dict[str, Any]) -> bytes:
    wire: str = vector["wire"]
    return wire.encode() if vector["form"] == "text" else bytes.fromhex(wire)


def unmark(value: Any) -> Any:
    """The value without the marks that stand for what JSON cannot say."""
    match value:
        case {"$bytes": text}:
            return base64.b64decode(text)
        case {"$timestamp": text}:
            return datetime.fromisoformat(text)
        case {"$integer": text}:
            return int(text)
        case dict():
            return {key: unmark(item) for key, item in value.items()}
        case list():
            return [unmark(item) for item in value]
    return value


@pytest.mark.parametrize("vector", [*load("requests"), *load("responses"), *load("events")])
def test_a_valid_message_is_understood(vector: dict[str, Any], request: pytest.FixtureRequest) -> None:
    envelope = codec(vector["encoding"]).decode(payload(vector))
    theme = request.node.callspec.id.partition("-")[0]
    assert type(envelope) is KINDS[theme]
    assert to_mapping(envelope) == unmark(vector["envelope"])


@pytest.mark.parametrize("vector", [*load("requests"), *load("responses"), *load("events")])
def test_a_valid_message_is_understood_as_a_plain_value_too(vector: dict[str, Any]) -> None:
    used = codec(vector["encoding"])
    assert from_mapping(used.decode_value(payload(vector))) == used.decode(payload(vector))


@pytest.mark.parametrize("vector", [*load("requests"), *load("responses"), *load("events")])
def test_an_envelope_is_encoded_canonically(vector: dict[str, Any]) -> None:
    used = codec(vector["encoding"])
    envelope = unmark(vector["envelope"])
    encoded = used.encode(from_mapping(envelope))
    assert used.encode_value(envelope) == encoded
    assert used.decode(encoded) == used.decode(payload(vector))
    assert (encoded == payload(vector)) or not vector["canonical"]


@pytest.mark.parametrize("vector", load("invalid"))
def test_an_invalid_message_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolFault) as caught:
        codec(vector["encoding"]).decode(payload(vector))
    fault = caught.value
    assert fault.code == vector["code"]
    assert fault.correlation_id == vector["correlationId"]
    assert type(fault.correlation_id) is type(vector["correlationId"])
    assert fault.details is not None
    if "key" in vector:
        assert fault.details["key"] == vector["key"]


@pytest.mark.parametrize("theme", ["requests", "responses", "events", "invalid"])
def test_both_encodings_are_covered(theme: str) -> None:
    assert {param.values[0]["encoding"] for param in load(theme)} == {"json", "msgpack"}
