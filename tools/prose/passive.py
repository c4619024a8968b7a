"""Finding passive verb phrases in English sentences, by their form.

A passive verb phrase has three parts: a form of "be" or "get", at most three adverbs ("not", "never", words in -ly),
and a past participle. A past participle is a word in -ed or one of the irregular participles below. Participles that
"and", "or" or a comma joins to the first one belong to its phrase: "is decoded, checked and stored" is one phrase.
Participles that usually are adjectives ("is based", "is limited", words in un-) make none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["passive_phrases"]

_AUXILIARY = r"(?:am|is|are|was|were|be|been|being|get|gets|got|gotten|isn't|aren't|wasn't|weren't)"
_ADVERB = (
    r"(?:not|never|also|always|already|again|all|both|each|ever|either|even|first|further|hence|here|in turn|just|"
    r"later|no longer|now|often|once|only|soon|still|then|there|thus|too|yet|\w+ly)"
)
_IRREGULAR = (
    "bound|broken|brought|built|caught|chosen|cut|done|drawn|driven|fed|forbidden|forgotten|fought|found|frozen|given|"
    "heard|held|hidden|hit|kept|known|laid|led|left|lent|let|lost|made|meant|met|overridden|overwritten|paid|put|read|"
    "rebuilt|reset|rewritten|run|said|seen|sent|set|shown|shut|sold|spent|split|spoken|stolen|stuck|sunk|swept|taken|"
    "taught|thought|thrown|told|torn|undone|understood|woken|won|worn|withdrawn|written"
)
_ADJECTIVE = re.compile(
    r"(?:un\w+ed|based|bounded|detailed|fixed|interested|limited|mixed|nested|related|shared|supposed|"
    r"(?:\w*[^aeiou])?eed|need|indeed|exceed|proceed|succeed|hundred|embed|red|shed|sacred|naked)$",
    re.IGNORECASE,
)
_PHRASE = re.compile(rf"\b{_AUXILIARY}\s+(?:{_ADVERB}\s+){{0,3}}(?P<participle>\w+ed|{_IRREGULAR})\b", re.IGNORECASE)


def passive_phrases(sentence: str) -> Sequence[str]:
    """Return the passive verb phrases of one sentence in their order."""
    return [found[0] for found in _PHRASE.finditer(sentence) if not _ADJECTIVE.match(found["participle"])]
