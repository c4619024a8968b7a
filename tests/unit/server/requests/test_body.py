"""Bodies, in whatever pieces they come."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mycelia.protocol.http.request import Handshake, Headers
from mycelia.protocol.wire.envelope import ProtocolFault
from mycelia.server.config import HttpLimits
from mycelia.server.requests.body import read_body

POST = Handshake("POST", "/", Headers([("content-type", "application/json")]))


class Pieces:
    """A server that hands a body on in pieces of its choice."""

    def __init__(self, body: bytes, size: int) -> None:
        self.left: Iterator[bytes] = (body[at : at + size] for at in range(0, len(body), size))

    async def receive(self) -> Mapping[str, Any]:
        part = next(self.left, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_pieces_make_a_body(size: int) -> None:
    body = {"text": "grüße 🦊" * 10}
    assert await read_body(POST, Pieces(json.dumps(body).encode(), size).receive, HttpLimits()) == body  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 99])
async def test_no_more_is_read_than_shows_that_it_is_too_large(size: int) -> None:
    pieces = Pieces(b"1" * 300, size)
    with pytest.raises(ProtocolFault, match="at most 100 bytes"):
        await read_body(POST, pieces.receive, HttpLimits(max_body=100))  # type: ignore[arg-type]
    assert next(pieces.left, None) is not None


async def test_a_body_in_crumbs_takes_no_more_room_than_itself() -> None:
    body = json.dumps("0123456789" * 10_000).encode()
    tracemalloc.start()
    try:
        await read_body(POST, Pieces(body, 2).receive, HttpLimits())  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(body)
