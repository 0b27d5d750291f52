"""Numbers that are codes: of diagnoses, trades, places, hospitals. Of a code only those that exist may be released.

Three things tell a code from a quantity: what the column is called (``names``), that its numbers are written alike (all of five
digits, leading zeros, letters beside them), and how they lie (``spacing``). A name of a code book decides; a name of a thing
that has numbers is, unless the numbers lie as counts do; without a name all of the rest must indicate it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from cohortium.data.columns import Categorical
from cohortium.data.columns.absent import AMONG_NUMBERS
from cohortium.drafting.facts import FEW_CODES, RARE, ColumnFacts
from cohortium.drafting.found import Found
from cohortium.drafting.names import about
from cohortium.drafting.spacing import alike, apart
from cohortium.drafting.texts import MOST_LISTED, categorical

SHARED = 0.6  # of the persons have a code that others have too
POINT = 0.1  # of the persons have a value that many share
LONELY = 8  # times as common as the numbers around
SMOOTH = 0.7  # correlation of a number's count with the next one's
BY_NAME = "codes, by the column's name: no others are released"
BY_FORM = "numbers that are codes, as far as can be told: many share one while those next to it hardly occur; no others are released"
BY_LETTERS = "codes, of which some have letters and others none"
BY_ZEROS = "codes, as some begin with a zero"
TOO_MANY = f"dropped: codes, more than {MOST_LISTED} of them in many rows; group them in the table, by their first digits perhaps"
COUNTS = "its name says codes, but its numbers lie as counts do: if they are codes, make the column categorical"
SPARSE = "its name says codes, but hardly any are shared, and they lie as a quantity's numbers do: if they are codes, list them, or drop the column"
_MOSTLY_RARE = (
    "most are had by few: declare the code book's list, or group them in the table, by their first digits perhaps"
)
_CODE = re.compile(r"[0-9]{1,12}(?:\.0+)?|[0-9]{1,8}\.[0-9]{1,2}|[A-Z]{1,3}-?[0-9][0-9A-Z.-]{0,9}")
_PLAIN = re.compile(r"[0-9]{1,12}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,14}")
_LETTERS = re.compile(r"[A-Z]{1,3}-?[0-9][0-9A-Z.-]{0,9}")
_ZERO = re.compile(r"0[0-9]")
_PIECES = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def code_column(name: str, facts: ColumnFacts) -> Found | None:
    """A list of codes, where the column's numbers are that; None where they are not."""
    why = _why(name, facts)
    if not why:
        return None
    if sum(facts.counts[w] for w in facts.shared[:MOST_LISTED]) < SHARED * sum(facts.counts[w] for w in facts.shared):
        return Found(None, (TOO_MANY,))
    words = in_order(facts.shared[:MOST_LISTED])
    which = (
        f"codes of {RARE} {facts.unit} or more; add what else the code book has, and order them if they have an order"
    )
    if len(words) < len(facts.shared):
        which = f"the {MOST_LISTED} most common codes"
    texts = (why, which, *((_MOSTLY_RARE,) if _shared(facts) < SHARED else ()))
    if len(words) == facts.distinct and not facts.many and all(map(_WHOLE.fullmatch, words)):
        codes = Categorical(name=name, nullable=facts.nullable, categories=tuple(map(int, words)))
        return Found(codes, texts, taken=AMONG_NUMBERS)
    return categorical(name, facts, words, texts).taking(AMONG_NUMBERS)


def in_order(words: Iterable[str]) -> list[str]:
    """Numbers by their size and before letters; codes with both by the letters, then by the numbers in them."""

    def key(word: str) -> tuple[tuple[int, float, str], ...]:
        pieces = [piece for piece in _PIECES.split(word) if piece]
        return tuple((0, float(p), p) if p[0].isdigit() else (1, 0.0, p) for p in pieces)

    return sorted(words, key=key)


def doubts(name: str, facts: ColumnFacts) -> tuple[str, ...]:
    """The remark on numbers that stay a quantity although their name indicates codes."""
    if about(name) not in ("code", "thing") or facts.distinct <= FEW_CODES or any(facts.decimals[1:]):
        return ()
    return (COUNTS,) if _shared(facts) >= SHARED else (SPARSE,)


def _why(name: str, facts: ColumnFacts) -> str:
    """Why the values are codes; empty if they are not, as far as can be told."""
    if facts.infinite or not _are_written_as_codes(facts):
        return ""
    called, shared = about(name), _shared(facts) >= SHARED
    plain = _without_points(facts)
    if called == "quantity":
        return ""
    if _have_zeros(facts) and shared and facts.distinct > FEW_CODES:
        return BY_ZEROS
    if _mixes_letters(facts):
        return BY_LETTERS if shared or called in ("code", "thing") else ""
    counts = {int(float(w)): n for w, n in plain.counts.items() if _is_whole_number(w)}
    if len(counts) < plain.distinct:  # 250.83: of a code book, if its name indicates one
        return BY_NAME if called == "code" and shared else ""
    lonely = apart(counts)
    if called == "code" or (called == "thing" and alike(counts) < SMOOTH):
        return BY_NAME if shared or lonely >= LONELY else ""
    if called or not shared or facts.distinct <= FEW_CODES or _shared(plain) < SHARED:
        return ""
    return BY_FORM if lonely >= LONELY and alike(counts) < SMOOTH and _are_even(facts) else ""


def _without_points(facts: ColumnFacts) -> ColumnFacts:
    """Without what many share, as a cap or a zero is shared: it says something about itself and nothing about the other values."""
    rest = Counter({w: n for w, n in facts.counts.items() if n <= POINT * facts.valid})
    return replace(facts, counts=rest, valid=sum(rest.values()))


def _shared(facts: ColumnFacts) -> float:
    """The share of those whose value is not of few."""
    return sum(facts.counts[w] for w in facts.shared) / max(1, facts.valid)


def _is_whole_number(word: str) -> bool:
    return _PLAIN.fullmatch(word.partition(".")[0]) is not None and not word.partition(".")[2].strip("0")


def _are_written_as_codes(facts: ColumnFacts) -> bool:
    """All but a few: without signs, of few decimals or with letters in front."""
    other = sum(n for w, n in facts.counts.items() if not _CODE.fullmatch(w))
    return other < min(RARE, facts.valid / 20)


def _have_zeros(facts: ColumnFacts) -> bool:
    return sum(n for w, n in facts.counts.items() if _ZERO.match(w)) >= max(1, min(RARE, facts.valid / 20))


def _mixes_letters(facts: ColumnFacts) -> bool:
    letters = sum(n for w, n in facts.counts.items() if _LETTERS.fullmatch(w))
    return min(letters, facts.numbers) >= RARE


def _are_even(facts: ColumnFacts) -> bool:
    """Whether the codes that many share spread over their range as no amount does: of one length, or not crowded towards zero."""
    words = [w.partition(".")[0] for w in facts.shared]
    numbers = np.array(list(map(int, words)), np.float64)
    alike_written = len({*map(len, words)}) == 1 and len(words[0]) > 2
    return alike_written or bool(np.median(numbers) >= numbers.max() / 4)
