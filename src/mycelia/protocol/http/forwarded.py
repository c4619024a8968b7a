"""What reverse proxies say of the client: `Forwarded` (RFC 7239), or `X-Forwarded-For` and `X-Forwarded-Proto`.

One of the two ways is read, never both: a proxy that writes one of them passes on whatever a client wrote into the
other. Who may be believed is not decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mycelia.protocol.http.request import BadHandshake, Headers

__all__ = ["WAYS", "Hop", "read_hops"]

WAYS = ("x-forwarded", "forwarded")

# Possessive: what has matched is never tried again, so that no line takes longer than its length.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*+"'
_ONE = rf"({_TOKEN})=({_TOKEN}|{_QUOTED})"
_PAIR = re.compile(_ONE)
_ELEMENT = re.compile(rf"[ \t]*+((?:{_ONE})?(?:;[ \t]*+(?:{_ONE})?)*+)[ \t]*+(?:,|$)")


@dataclass(frozen=True, slots=True)
class Hop:
    """One proxy's word: whom it was asked by, and over which protocol; None where it does not say."""

    client: str | None = None
    proto: str | None = None


def read_hops(headers: Headers, way: str) -> list[Hop]:
    """What each proxy says, the one nearest to us last. BadHandshake for a `Forwarded` that is not well-formed."""
    if way == "forwarded":
        return [hop for line in headers.lines("forwarded") for hop in _elements(line)]
    clients = _listed(headers, "x-forwarded-for")
    protos = _listed(headers, "x-forwarded-proto")
    # Proxies that replace the protocol leave one for all; of those that append each has its own, counted from the end.
    short = len(clients) - len(protos)
    return [
        Hop(_node(client or None), protos[max(0, at - short)].lower() if protos else None)
        for at, client in enumerate(clients)
    ] or [Hop(None, proto.lower()) for proto in protos[-1:]]


def _listed(headers: Headers, name: str) -> list[str]:
    lines = headers.lines(name)
    return [each.strip(" \t") for each in ",".join(lines).split(",")] if lines else []


def _elements(line: str) -> list[Hop]:
    """The elements of one line (RFC 7239 §4)."""
    found, at = [], 0
    while at < len(line):
        element = _ELEMENT.match(line, at)
        if element is None:
            # A quote that is not closed would swallow what the proxy has added: nothing of such a line can be used.
            raise BadHandshake(400, "expected a Forwarded header as RFC 7239 has it: for=192.0.2.1;proto=https")
        pairs = [(name.lower(), _unquoted(value)) for name, value in _PAIR.findall(element[1])]
        said = dict(pairs)
        if len(said) != len(pairs):
            raise BadHandshake(400, "expected each parameter once in an element of Forwarded")
        if said:
            proto = said.get("proto")
            found.append(Hop(_node(said.get("for")), proto.lower() if proto else None))
        at = element.end()
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _node(text: str | None) -> str | None:
    """The address of a node, without brackets and port (RFC 7239 §6); as it is where it hides itself.

    Some proxies write the port into `X-Forwarded-For` as well.
    """
    if text is None:
        return None
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
