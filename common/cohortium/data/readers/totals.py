"""Lines of totals below a table, as exports and spreadsheets have them: no person's rows.

Such a line depends on everybody's rows, so one person's effect on it is unbounded. Each line is judged by its own cells:
it is totals if its first cell that is not blank is a word for totals, and the others that are not blank, at least one,
are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

_WORDS = (
    "total", "totals", "grand total", "subtotal", "sub-total", "sum", "sums", "average", "mean",
    "gesamt", "gesamtsumme", "insgesamt", "summe", "summen", "zwischensumme", "mittelwert", "durchschnitt",
    "somme", "moyenne", "suma", "promedio", "totale", "somma", "totaal", "totalt", "summa", "razem", "soma",
)  # fmt: skip
_KNOWN = frozenset(word.encode() for word in _WORDS)
_NUMBER = re.compile(rb"[^\w\s]{0,6}\s?[^\w\s]?\d[\d.,'\s\x80-\xff]*[^\w\s]?")
_BLANK = b" \t\r\f\v"


def are_totals(cells: Sequence[bytes]) -> bool:
    """Whether a row's cells are totals of the others."""
    first = next((text for cell in cells if (text := cell.strip(_BLANK))), b"")
    if first.rstrip(b" :").lower() not in _KNOWN:
        return False
    filled = [text for cell in cells if (text := cell.strip(_BLANK))]
    return len(filled) > 1 and all(_NUMBER.fullmatch(text) for text in filled[1:])


def may_hold_totals(lines: bytes, separator: bytes) -> bool:
    """Whether one of the lines may be totals; False only if none is."""
    pattern = _first_word(separator)
    return pattern.search(b"\n" + lines[: lines.find(b"\n")] + b"\n") is not None or pattern.search(lines) is not None


@cache
def _first_word(separator: bytes) -> re.Pattern[bytes]:
    """What begins a line that may be totals, with the end of the line before: a letter that is there is looked for fast."""
    end = re.escape(separator)
    words = b"|".join(re.escape(word) for word in sorted(_KNOWN))
    initials = bytes(sorted({word[0] for word in _KNOWN} | {word.upper()[0] for word in _KNOWN}))
    return re.compile(rb'\n[ \t\r\f\v"%s]*(?=[%s])(?i:%s)[ \t\r\f\v:"]*%s' % (end, initials, words, end))
