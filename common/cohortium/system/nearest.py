"""Suggestions for an unknown name: the known ones, and which was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 12
ALIKE = 0.6  # of 1, by difflib's measure


def nearest(name: object, there: Iterable[object]) -> str | None:
    """The name in ``there`` with the closest spelling, ignoring case; None if none is close.

    >>> nearest("Resullt", ["age", "result"])
    'result'
    """
    by_letters = {str(one).casefold(): str(one) for one in there}
    found = get_close_matches(str(name).casefold(), by_letters, n=1, cutoff=ALIKE)
    return by_letters[found[0]] if found else None


def offered(name: object, there: Iterable[object], what: str = "There are") -> str:
    """A sentence that suggests known names for an unknown one; at most as many as fit.

    >>> offered("agee", ["age", "sex"], "Columns are")
    'Columns are age, sex; perhaps age is meant.'
    """
    names = [str(one) for one in there]
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    meant = nearest(name, names)
    return f"{what} {', '.join(names[:SHOWN])}{more}{f'; perhaps {meant} is meant' if meant else ''}."
