"""Columns of text: categories that many persons share."""

from __future__ import annotations

import json
import re

from cohortium.data.columns import FINE_CELLS, Categorical
from cohortium.data.columns.written import looks_like_a_number
from cohortium.drafting.facts import MANY_WORDS, MOSTLY, RARE, ColumnFacts
from cohortium.drafting.found import Found, quoted
from cohortium.drafting.names import about
from cohortium.system.texts import trouble_of_value

OTHER = "__OTHER__"
COMMON_WORDS = 30
MOST_LISTED = FINE_CELLS - 2  # no more cells than a column of numbers would have
LONG_TEXT = 100
_TIME = re.compile(r"([01][0-9]|2[0-3]):?[0-5][0-9](:?[0-5][0-9])?")


def text_column(name: str, facts: ColumnFacts) -> Found:
    """Values that are no single person's as categories, the most common ones where they are many; or nothing."""
    if sum(n for w, n in facts.counts.items() if len(w) > LONG_TEXT) > facts.valid / 10:
        return Found(None, ("dropped: free text",))
    numbers = sum(map(looks_like_a_number, facts.counts))
    if numbers > facts.distinct / 2 and facts.distinct > MANY_WORDS:
        text = "dropped: most of its values are numbers, but others are not, or they are written in several ways"
        others = [w for w in facts.counts if not looks_like_a_number(w)][:5]
        seen = f"no numbers are {', '.join(map(quoted, others))}" if others else ""
        return Found(None, (f"{text}; write all of them in one",), seen)
    if facts.many or facts.distinct > max(20, facts.valid / 2):
        return Found(None, ("dropped: nearly every row has a value of its own, like an identifier's or free text",))
    if (
        facts.distinct > MANY_WORDS
        and sum(n for w, n in facts.counts.items() if _TIME.fullmatch(w)) >= MOSTLY * facts.valid
    ):
        return Found(None, ("dropped: times of day that are written in several ways; write all of them in one",))
    listed = about(name) in ("code", "thing") and len(facts.shared) < MOST_LISTED
    words = facts.shared if listed or len(facts.shared) <= MANY_WORDS else facts.shared[:COMMON_WORDS]
    if sum(facts.counts[w] for w in words) < 0.6 * facts.valid:
        return Found(None, ("dropped: most of its values are not common",), _seen(facts))
    text = f"values of {RARE} {facts.unit} or more"
    if len(words) < len(facts.shared):
        text = f"the {COMMON_WORDS} most common values"
    return categorical(name, facts, sorted(words), (text,))


def categorical(name: str, facts: ColumnFacts, words: list[str], texts: tuple[str, ...]) -> Found:
    """The categories as they occur, and one for all other values."""
    allowed = [w for w in words if not trouble_of_value(w) and len(w) <= LONG_TEXT]
    if len(allowed) < len(words):
        texts = (*texts, f"values that a spreadsheet would run, that are invisible, or that are long, become {OTHER}")
    other = OTHER if len(allowed) < facts.distinct else None
    if other is not None and other not in allowed:
        allowed.append(other)
    column = Categorical(name=name, nullable=facts.nullable, categories=tuple(allowed), other=other)
    return Found(column, texts, _seen(facts))


def _seen(facts: ColumnFacts) -> str:
    """Which values are left out for being rare: for the institution's own screen."""
    if not facts.rare:
        return ""
    shown = ", ".join(json.dumps(w, ensure_ascii=False) for w in facts.rare[:5]) + (
        ", ..." if len(facts.rare) > 5 else ""
    )
    return f"not written down, as fewer than {RARE} {facts.unit} have them: {shown}. Add what the public knows"
