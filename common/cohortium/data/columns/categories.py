"""The category of a value. Categories are text: ``401``, ``401.0`` and ``401.00`` are three of them, as are ``1`` and ``+1``.

| a value                                       | is the category                                             |
|-----------------------------------------------|-------------------------------------------------------------|
| text                                          | that is the same text, in normal form C, trimmed            |
| a number of a type of its own: 1 or 1.0       | ``"1"``, else ``"1.0"``: the number holds no more than that |
| a number or text, of whole-number categories  | of the same number: ``1`` and ``1.0`` are 1, ``01`` is none |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")


def category_key(value: object) -> str:
    """A value's text: trimmed, in normal form C; a whole number of floating point without a point."""
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip()


def reader(categories: Sequence[int] | Sequence[str]) -> Callable[[object], int | None]:
    """A function from a value to its position among the categories, or None."""
    places = {category_key(category): place for place, category in enumerate(categories)}
    whole = any(isinstance(category, int) for category in categories)

    def place(value: object) -> int | None:
        key = category_key(value)
        if key in places:
            return places[key]
        if whole:
            found = _WHOLE.fullmatch(key)
            return places.get(found[1]) if found else None
        return places.get(f"{key}.0") if _is_number(value) else None

    return place


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
