"""What every kind of column has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, Strict

from cohortium.errors import SchemaError
from cohortium.system.texts import has_unseen

MAX_CELLS = 4096
SHOWN = 6  # values named of a column
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class BaseColumn:
    """What every kind of column has.

    missing: words that stand for a missing value, in any case; None for the usual ones (``absent``).
    review: its entries that were read off rows and that nobody has reviewed yet.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[str, Field(min_length=1, max_length=200)]
    nullable: bool = False
    target: bool = False
    unit: str = ""
    description: str = ""
    missing: tuple[Annotated[str, Strict(), Field(max_length=200)], ...] | None = None
    review: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        """Number of cells for values, the missing one not counted."""
        raise TypeError("a column is one of the five kinds")

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.values + int(self.nullable)

    @property
    def summary(self) -> str:
        """What it may hold, in a few words."""
        names = [str(c) for c in getattr(self, "categories", ("false", "true"))]
        return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} others" if len(names) > SHOWN else "")

    def invalid(self, what: str, fix: str) -> SchemaError:
        return SchemaError("E_SCHEMA_INVALID", f"column {self.name!r}", what, fix)


def check_missing(column: BaseColumn) -> None:
    """Words that somebody sees, each once, and none that is a value as well."""
    words = [word.strip().lower() for word in column.missing or ()]
    if len(set(words)) < len(words) or "" in words or any(map(has_unseen, words)):
        what = "a word for missing is there twice, is blank, or has invisible characters"
        raise column.invalid(what, "Correct missing; a blank cell is missing anyway.")
    for category in getattr(column, "categories", ()):
        if str(category) in (word.strip() for word in column.missing or ()):
            what = f"{str(category)!r} is a category and a word for missing"
            raise column.invalid(what, "Take it out of one of the two.")


def without_empty(cuts: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Cuts without those that would leave a bin nothing but special values: it becomes part of the next, or the last one of that before."""
    for b in range(len(cuts) - 2, -1, -1) if len(taken) else ():
        inside = np.searchsorted(taken, cuts[b + 1]) - np.searchsorted(taken, cuts[b])
        if inside == cuts[b + 1] - cuts[b] and len(cuts) > 2:
            cuts = np.delete(cuts, b + 1 if b + 2 < len(cuts) else b)
    return cuts
