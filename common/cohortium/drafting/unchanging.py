"""Columns that say the same in all rows of a person, found while a draft reads a table of events: they belong to the person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from cohortium.data.columns.categories import category_key
from cohortium.data.columns.encoding import normalized
from cohortium.drafting.facts import people_of

_NOBODY = people_of(pd.Series([None], dtype=object))[0]


class Unchanging:
    """Examines the parts of a table as they pass. person: the column that says whose row it is."""

    def __init__(self, person: str) -> None:
        self._person = person
        self._values: dict[str, pd.Series] | None = None  # by column the one value of each person

    def through(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same parts; each is examined when the next one is requested."""
        for part in parts:
            yield part
            people = people_of(part[self._person])
            part, people = part[people != _NOBODY], people[people != _NOBODY]
            if self._values is None:
                nothing = pd.Series(np.empty(0, np.uint64), np.empty(0, np.uint64))
                self._values = {str(n): nothing for n in part.columns if n != self._person}
            for name, known in list(self._values.items()):
                together = pd.concat([known, pd.Series(_hashed(part[name]), people)])
                distinct = together.reset_index().drop_duplicates().set_index("index").iloc[:, 0]
                if distinct.index.is_unique:
                    self._values[name] = distinct
                else:
                    del self._values[name]

    @property
    def names(self) -> frozenset[str]:
        """Columns of which no person has two values; a blank is one, too."""
        return frozenset(self._values or ())


def _hashed(values: pd.Series) -> np.ndarray:
    """(rows,) a hash of each value's text."""
    numbers, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    texts = np.array([*map(category_key, distinct), ""], dtype=object)
    hashes: np.ndarray = pd.util.hash_array(texts, categorize=False)
    return hashes[numbers]
