"""The rules for sentences, which hold for every kind of prose.

- `sentence-length`: a sentence has at most 30 words. Inline code counts as one word, as does a hyphenated compound.
- `passive-chain`: a sentence has at most two passive verb phrases (defined in `tools.prose.passive`).
- `banned-term`: no sentence uses a term of `tools.prose.terms`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.prose.model import Finding, Passage
from tools.prose.passive import passive_phrases
from tools.prose.sentences import Sentence, sentences, words
from tools.prose.terms import banned_terms

__all__ = ["MOST_PASSIVES", "MOST_WORDS", "check_sentences"]

MOST_WORDS = 30
MOST_PASSIVES = 2


def check_sentences(passage: Passage) -> Iterator[Finding]:
    """Yield the findings of the rules for sentences in one passage."""
    for sentence in sentences(passage.text):
        for rule, advice in _broken(sentence):
            yield Finding(passage.path, passage.line + sentence.offset, rule, sentence.quote, advice)


def _broken(sentence: Sentence) -> Iterator[tuple[str, str]]:
    length = words(sentence.text)
    if length > MOST_WORDS:
        yield "sentence-length", f"expected at most {MOST_WORDS} words, got {length}; split the sentence"
    passives = passive_phrases(sentence.text)
    if len(passives) > MOST_PASSIVES:
        listed = ", ".join(f'"{phrase}"' for phrase in passives)
        yield "passive-chain", f"expected at most {MOST_PASSIVES} passive verbs, got {listed}; name who does it"
    for term, advice in banned_terms(sentence.text):
        yield "banned-term", f'"{term}" is banned; write: {advice}'
