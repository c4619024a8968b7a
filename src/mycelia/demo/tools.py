"""Paths to try by hand: `demo://echo`, `demo://add`, `demo://clock`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from mycelia import BaseSubsystem, MessageSystem

__all__ = ["Add", "make_tools"]

# Within these bounds a sum is exact in JavaScript too, whose numbers are floats.
Term = Annotated[int, Meta(ge=-(2**52), le=2**52)]


class Add(Struct, frozen=True):
    """The body of `demo://add`; another one is answered with INVALID_BODY and the place of the fault."""

    a: Term
    b: Term


def make_tools(system: MessageSystem) -> BaseSubsystem:
    """The subsystem `demo`. Its paths are `expose`d: without that, clients could not call them."""
    demo = BaseSubsystem("demo", ms=system)

    @demo.route("demo://echo", expose=True, safe=True)
    def echo(body: Any) -> dict[str, Any]:
        # Wrapped: a body that looks like `{"success": …}` itself would be taken for the whole answer.
        return {"success": True, "data": body}

    @demo.route("demo://add", expose=True, safe=True)
    def add(body: Add) -> int:
        return body.a + body.b

    @demo.route("demo://clock", expose=True, safe=True)
    def clock() -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds")

    return demo
