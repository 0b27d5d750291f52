"""Numbers beside words that are numbers in part: ``> 89``, ``<5``, ``90+``. Such a word is a value, and comes back as it is.

The column is a list in the order of the numbers, with each word where its number is. A list of all the numbers between two round
bounds names nobody's number. Where there are too many, the column stays one of numbers, and the words are reported.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from cohortium.data.columns import FINE_CELLS, Ordinal
from cohortium.data.columns.absent import AMONG_NUMBERS
from cohortium.drafting.facts import RARE, ColumnFacts
from cohortium.drafting.found import Found
from cohortium.drafting.numbers import ends, wide_bounds
from cohortium.drafting.texts import categorical
from cohortium.system.texts import trouble_of_value

_NUMBER = r"(?P<number>-?(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,6})?)"
_BEYOND = re.compile(
    rf"(?P<sign>[<>≤≥]=?|under|below|over|above|at least|at most|up to|less than|more than) ?{_NUMBER}", re.IGNORECASE
)
_OPEN = re.compile(
    rf"{_NUMBER} ?(?P<sign>\+|or (?:more|over|older|less|under|younger)|and (?:more|over|older|less|under|younger))",
    re.IGNORECASE,
)
_PLAIN = re.compile(_NUMBER)
_DOWN = ("<", "≤", "under", "below", "at most", "up to", "less", "younger")
MOSTLY_SHARED = 0.9  # of the values: others become one
LISTED = "numbers, and words for what is beyond some of them: a list in the order of the numbers"
REST = "cells that are none of them will count as missing"
TOLD = "words such as <5 among its numbers will count as missing: make it a list, or put the words in a column of their own"


@dataclass(frozen=True)
class _Word:
    """A word and the number in it. beyond: -1 for what is below the number, 1 for what is above, 0 for the number itself."""

    text: str
    number: Decimal
    beyond: int


def mixed_column(name: str, facts: ColumnFacts) -> Found | None:
    """A list of numbers with such words in it; None where not enough have one."""
    words = [found for word in facts.counts if (found := _read(word))]
    beyond = [w for w in words if w.beyond and not trouble_of_value(w.text)]
    if facts.many or not any(facts.counts[w.text] >= RARE for w in beyond) or len(words) == len(beyond):
        return None
    if facts.valid - sum(facts.counts[w.text] for w in words) >= max(RARE, facts.valid / 20):
        return None
    listed = _whole_list(name, facts, words) or _shared_list(name, facts, words)
    return listed.taking(AMONG_NUMBERS) if listed else None


def hints(facts: ColumnFacts) -> tuple[str, ...]:
    """The remark on such words where the column stays one of numbers."""
    found = (_read(word) for word, n in facts.counts.items() if n >= RARE)
    return (TOLD,) if any(word is not None and word.beyond for word in found) else ()


def _read(word: str) -> _Word | None:
    if found := _PLAIN.fullmatch(word):
        return _Word(word, Decimal(found["number"]), 0)
    if found := _BEYOND.fullmatch(word) or _OPEN.fullmatch(word):
        down = any(sign in found["sign"].lower() for sign in _DOWN)
        return _Word(word, Decimal(found["number"]), -1 if down else 1)
    return None


def _whole_list(name: str, facts: ColumnFacts, words: list[_Word]) -> Found | None:
    """All numbers between round bounds, so many decimals as all of them have, and the words that many share; None of too many."""
    plain = [w for w in words if not w.beyond]
    decimals = Counter(len(w.text.partition(".")[2]) for w in plain)
    lowest, highest = ends(facts)
    if len(decimals) > 1 or lowest is None or highest is None or lowest >= highest:
        return None
    shared = [w for w in words if w.beyond and facts.counts[w.text] >= RARE and not trouble_of_value(w.text)]
    (places,) = decimals
    lower, upper = wide_bounds(lowest, highest, places)
    below, above = ([float(w.number) for w in shared if w.beyond == side] for side in (-1, 1))
    lower = max([lower, *(x for x in below if x <= lowest)])
    upper = min([upper, *(x for x in above if x >= highest)])
    if (upper - lower) * 10**places + 1 + len(shared) > FINE_CELLS - 1:
        return None
    first, last = (round(x * 10**places) for x in (lower, upper))
    apart = [w for w in plain if facts.counts[w.text] >= RARE and not lower <= float(w.number) <= upper]
    numbers = [_Word(f"{Decimal(k).scaleb(-places):f}", Decimal(k).scaleb(-places), 0) for k in range(first, last + 1)]
    listed = [w.text for w in sorted([*numbers, *apart, *shared], key=lambda w: (w.number, w.beyond))]
    rest = not {*facts.counts} <= {*listed}
    column = Ordinal(name=name, nullable=facts.nullable or rest, categories=tuple(listed))
    return Found(column, (LISTED, *((REST,) if rest else ())))


def _shared_list(name: str, facts: ColumnFacts, words: list[_Word]) -> Found | None:
    """The values that many share, in the order of the numbers; None where most values are not shared."""
    order = {w.text: (w.number, w.beyond) for w in words}
    shared = sorted((w for w in facts.shared if w in order), key=lambda w: order[w])[: FINE_CELLS - 2]
    if sum(facts.counts[w] for w in shared) < MOSTLY_SHARED * facts.valid:
        return None
    return categorical(name, facts, shared, (LISTED,))
