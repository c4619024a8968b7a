"""Terms that the project's prose does not use, each with its replacement.

A pattern matches whole words, without regard to case, outside inline code. A word that is right elsewhere (a chat
room, a text frame, memory pressure) is listed only in the phrases that are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["TERMS", "banned_terms"]

_ACTOR = "name the actor: client, peer, caller, connection, handler, server, application or user"

# Nouns that "text" describes, as in "a text frame".
_TEXT_NOUNS = "file|field|frame|message|format|event|editor|body|subprotocol|encoding|payload|line|box|area|part|codec"

# pattern → what to write
TERMS: dict[str, str] = {
    # pronouns for an actor
    "whoever|whomever|whosoever": _ACTOR,
    "nobody|no one|somebody|someone|anybody|anyone|everybody|everyone": _ACTOR,
    r"(?:of|to|for|by|from|with|than|as|on|at|and|or|but) who": _ACTOR,
    # metaphors and private words
    "apolog(?:y|ies)": "internal error",
    "alarms?": "deadline timer",
    "attendance": "client-disconnect watch",
    "batons?": "fair scheduler, or a slot of it",
    "carriage(?! return)|junctions?": "uvicorn WebSocket takeover (uvicorn bridge)",
    "dialects?": "encoder",
    "farewells?|good-?byes?": "Close frame, or closing handshake",
    "holdings": "receive-buffer budget",
    "inbound messages?": "client message",
    "intake": "receiver",
    "judg(?:e|es|ed|ing|ement|ements|ment|ments)": "check, validate, or decide",
    "misread": "bad request, or parsed incorrectly",
    "outbox(?:es)?": "send queue",
    "pacing|paced": "read throttling, throttled reader",
    "part(?:ed|ing)": "closing with pending requests, or draining",
    "refusals?": "rejection, or rejection counter",
    "riders?": "session handler",
    "starved|starving": "refused for lack of file descriptors, or delayed",
    "strangers?": "untrusted client, or untrusted input",
    "unveil(?:s|ed|ing)?": "resolve the client address behind proxies",
    "verdicts?": "result, send result, or decision",
    "abilit(?:y|ies)": "capability",
    "relief": "memory trim",
    "(?<!load )(?<!load-)shedding": "load shedding",
    "(?<!memory )(?<!back )(?<!back-)pressure": "overload, overload monitor, or memory pressure",
    "skim(?:s|med|ming)?": "peek, or decode only the header fields",
    "crowded": "exceeds the value count",
    "blank(?:s|ed|ing)? out": "redact",
    "far end": "server end, or peer",
    "front door": "the package root, or the public entry point",
    "own(?:ed)? sake|(?:for|another's|other's) sake": "because of",
    # phrases in which a usual word has a private meaning
    r"(?:a|the|each|of|first) stalls?": "blocked event loop",
    r"(?:a|the|each|every|next|last|missed|promised a) beats?": "heartbeat, or tick",
    r"(?:at|through|behind|past|by) (?:the|a|its|that) doors?|accept doors?": "accept limiter, or guard route",
    r"(?:at|through|behind|past|by|ask(?:s|ed|ing)?) (?:the|a|its|that) gates?": "handshake admission",
    r"the gate (?:decides|says|refuses|rejects|lets|checks)": "handshake admission",
    r"(?:connection's|connection) phases?|phases? of (?:a|the|each|its) connection": "connection state",
    r"(?:a|the|each|every|one|several|other) places? to listen": "listen address",
    r"(?:has|have|takes?|gives?|keeps?|frees?) (?:a|its|no|the|their) places?(?! in)": "slot of the limit",
    r"place is free": "no longer counts against the limit",
    r"(?:is|be|there's|has|have|makes?|leaves?|no|enough) room(?! (?:id|name))": "capacity, space, or concurrency slot",
    r"the house|our house|this house|house rules?": "project, or project rules",
    r"(?:one|same|upper|lower|import) floor|(?:these|the|upper|lower) floors": "layer",
    r"these rooms|rooms? of the (?:house|project|package)|one room": "module",
    rf"a text(?! (?:{_TEXT_NOUNS}))|texts": "a string, or message",
    r"(?:is|are|was|were|be|been|being|isn't|aren't) told": "notified, reported, or receives",
    r"(?:is|are|be) (?:none|nothing) of": "invalid",
    r"what is (?:none|no)|of what is": "invalid X, not a valid X",
    r"what it is that": "the thing itself",
    r"both of (?:these|them|which)": "repeat the noun",
    r"as ever": "as before, or still",
    r"all the same": "nevertheless, or still",
    r"says? of (?:it|one|a|the|itself)": "declares, states, or returns",
    r"goes? (?:under|over)": "use a literal verb: is sent, is closed",
    # old-fashioned connectives
    r"whence|thence|whereof|thereof|whereby|thereby|hereby|wherefrom|lest|ere|hither|thither|wherein|therein": (
        "use a plain connective: so that, from which, of it"
    ),
}
_PATTERNS = [
    (re.compile(rf"(?<![\w-])(?:{pattern})(?!\w)", re.IGNORECASE), advice) for pattern, advice in TERMS.items()
]
_LEADING_WHO = re.compile(r"^(?:and |or |but |so )?(whom?)(?: |$)(?!.*\?$)", re.IGNORECASE)


def banned_terms(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield each banned term of a sentence, as it is written, with its replacement."""
    for pattern, advice in _PATTERNS:
        for found in pattern.finditer(sentence):
            yield found[0], advice
    if leading := _LEADING_WHO.match(sentence):
        yield leading[1], _ACTOR
