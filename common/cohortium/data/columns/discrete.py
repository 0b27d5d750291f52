"""Columns of a few values: categories, ordered or not, and booleans."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Strict

from cohortium.data.columns.base import BaseColumn
from cohortium.system.texts import trouble_of_value

Categories = tuple[Annotated[int, Strict()], ...] | tuple[Annotated[str, Strict()], ...]  # "01" is not 1
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})


@dataclass(frozen=True, kw_only=True)
class Categorical(BaseColumn):
    """Values without order. ``other`` names the category that takes every undeclared value."""

    kind: Literal["categorical"] = "categorical"
    categories: Categories
    other: str | None = None

    def __post_init__(self) -> None:
        _check_categories(self, self.categories)
        if self.other is not None and self.other not in self.categories:
            raise self.invalid(f"other = {self.other!r} is not one of the categories", "Add it to categories.")

    @property
    def values(self) -> int:
        return len(self.categories)


@dataclass(frozen=True, kw_only=True)
class Ordinal(BaseColumn):
    """Values with an order, listed from the lowest to the highest."""

    kind: Literal["ordinal"] = "ordinal"
    categories: Categories

    def __post_init__(self) -> None:
        _check_categories(self, self.categories)

    @property
    def values(self) -> int:
        return len(self.categories)


@dataclass(frozen=True, kw_only=True)
class Boolean(BaseColumn):
    """True and false. ``spelling``: how the release writes false and true, in this order; by default as the type does."""

    kind: Literal["boolean"] = "boolean"
    spelling: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if self.spelling is None:
            return
        false, true = (word.strip().lower() for word in self.spelling)
        if false not in FALSE_WORDS or true not in TRUE_WORDS:
            words = f"{', '.join(sorted(FALSE_WORDS))} and {', '.join(sorted(TRUE_WORDS))}"
            raise self.invalid("spelling is not a word for false and one for true", f"Words are {words}, in any case.")

    @property
    def values(self) -> int:
        return 2


def _check_categories(column: BaseColumn, categories: tuple[int, ...] | tuple[str, ...]) -> None:
    """At least one, no duplicates, in Unicode normal form C, and nothing that a spreadsheet would run or that is invisible."""
    if not categories:
        raise column.invalid("there are no categories", "List them, or drop the column.")
    if len(set(categories)) < len(categories):
        raise column.invalid("a category is listed twice", "Remove the duplicate.")
    for text in (c for c in categories if isinstance(c, str)):
        if what := trouble_of_value(text):
            raise column.invalid(f"category {text!r} {what}", "Recode it, for example with a letter in front.")
        if unicodedata.normalize("NFC", text) != text or text != text.strip() or not text:
            raise column.invalid(
                f"category {text!r} is empty, padded or not in normal form C", "Write it trimmed and normalised."
            )
