"""The body of a message: from the JSON of a request, its query and the parameters of its path.

A JSON object takes in the others: a path parameter replaces a JSON field, and a JSON field replaces a query parameter.
Other JSON is the body as it is. A query beside such JSON would be lost, so that the server rejects the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from mycelia.asgi.scope import Receive
from mycelia.errors import InvalidBody
from mycelia.kernel.routing.coercion import FromText
from mycelia.protocol.http.request import Handshake
from mycelia.protocol.wire.codes import Code
from mycelia.protocol.wire.envelope import ProtocolFault
from mycelia.protocol.wire.json import JsonCodec
from mycelia.protocol.wire.value import type_name
from mycelia.server.config import HttpLimits

__all__ = ["BodyTimeout", "ClientLeft", "merge_body", "query_of", "read_body"]

_JSON = JsonCodec()


class ClientLeft(Exception):
    """The client disconnected. It does not receive a response."""


class BodyTimeout(Exception):
    """The body did not come in time."""


async def read_body(request: Handshake, receive: Receive, limits: HttpLimits) -> Any:
    """Return the decoded body; None for an empty one.

    Raises:
        ProtocolFault: The body is too large (TOO_LARGE), or not JSON, by its content type (UNSUPPORTED_DATA) or by its
            bytes (INVALID_JSON).
        BodyTimeout: The body did not come in time.
        ClientLeft: The client disconnected.
    """
    declared = request.headers.get("content-length", "")
    if limits.max_body and declared is not None and declared.isdecimal() and int(declared[:20]) > limits.max_body:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_timeout):
            payload = await _collect(receive, limits)
    except TimeoutError:
        raise BodyTimeout from None
    if not payload:
        return None
    if not _is_json(request):
        problem = "expected a body of type application/json in UTF-8"
        raise ProtocolFault(Code.UNSUPPORTED_DATA, problem, {"problem": problem})
    if limits.body_values and _JSON.crowded(payload, limits.body_values):
        problem = f"expected at most {limits.body_values} values"
        raise ProtocolFault(Code.TOO_LARGE, problem, {"problem": problem})
    return _JSON.decode_value(payload)


async def _collect(receive: Receive, limits: HttpLimits) -> bytes:
    """Return the whole body. One buffer collects it, because a list of small pieces would need more memory."""
    held = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise ClientLeft
        part = event.get("body") or b""
        more = event.get("more_body")
        if limits.max_body and len(held) + len(part) > limits.max_body:
            raise _too_large(limits)
        if not more and not held:
            return bytes(part)
        held += part
        if not more:
            return bytes(held)


def _too_large(limits: HttpLimits) -> ProtocolFault:
    problem = f"expected a body of at most {limits.max_body} bytes"
    return ProtocolFault(Code.TOO_LARGE, problem, {"problem": problem})


def _is_json(request: Handshake) -> bool:
    lines = request.headers.lines("content-type")
    if len(lines) != 1:
        return False
    kind, *parameters = [part.strip(" \t").lower() for part in lines[0].split(";")]
    charset = [part for part in parameters if part.startswith("charset=")]
    named = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    return named and all(part in ("charset=utf-8", 'charset="utf-8"') for part in charset)


def query_of(request: Handshake) -> dict[str, Any]:
    """Return the query parameters; a repeated one as a list. `check_query` has validated the query before."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(request.target.partition("?")[2], keep_blank_values=True):
        held = found.get(name)
        if held is None:
            found[name] = value
        elif isinstance(held, list):
            held.append(value)
        else:
            found[name] = [held, value]
    return found


def merge_body(body: Any, query: Mapping[str, Any], params: Mapping[str, str]) -> Any:
    """Return the body of the message. Raise InvalidBody for a query beside JSON that is not an object.

    The handler's annotation later converts the strings of the query and the path.
    """
    if not query and not params:
        return body
    if body is None:
        return FromText({**query, **params})
    if isinstance(body, dict):
        return FromText({**query, **body, **params})
    if query:
        raise InvalidBody(f"expected an object beside a query, got {type_name(body)}")
    return body
