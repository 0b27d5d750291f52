"""How many rows of a table count, and of how many persons: for the institution's own screen, and nowhere else.

A study counts at most ``rows_per_person`` rows of a person. Where persons have many, most rows have no effect, and nobody
would notice: so drafts, checks, simulations and previews report it, with what would change it. The counts are exact and
private. They are in no message, log or file, and nothing is decided by them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.encoding import Census, Codes
from cohortium.data.identifiers import Identifiers, identifiers_of
from cohortium.data.schema import Schema
from cohortium.queries.contribution_bounding import EqualWeight

MOST = 0.95  # of the rows: the rows_per_person that this takes is reported
_HELD = 1 << 20  # identifiers held before they are deduplicated
HOW = "Set it in the study's [privacy], or by --rows-per-person of simulate."


@dataclass(frozen=True)
class Tally:
    """Rows of a table, and whose they are.

    rows: all of them. left_out: those that do not fit the schema or have no person. sizes: for each number of rows, how many
    persons have that many; None without a person column, where each row is a person of its own.
    """

    rows: int
    left_out: int = 0
    sizes: Mapping[int, int] | None = None

    @property
    def fitting(self) -> int:
        return self.rows - self.left_out

    @property
    def persons(self) -> int:
        return self.fitting if self.sizes is None else sum(self.sizes.values())

    def counted(self, rows_per_person: int) -> int:
        """How many rows count if at most ``rows_per_person`` of each person do."""
        if self.sizes is None:
            return self.fitting
        return sum(min(rows, rows_per_person) * persons for rows, persons in self.sizes.items())

    def enough_for(self, share: float) -> int:
        """The least number of rows a person with which such a share of the fitting rows counts."""
        return bisect_left(range(self.fitting), share * self.fitting, key=self.counted)

    def __add__(self, other: Tally) -> Tally:
        """Of two institutions' tables; a person in both is counted in each, as in a study."""
        sizes = None
        if self.sizes is not None and other.sizes is not None:
            keys = {*self.sizes, *other.sizes}
            sizes = {k: self.sizes.get(k, 0) + other.sizes.get(k, 0) for k in sorted(keys)}
        return Tally(self.rows + other.rows, self.left_out + other.left_out, sizes)


def tally_lines(
    tally: Tally, rows_per_person: int = 1, equal_weight: EqualWeight = "rows", decided_by: str = ""
) -> list[str]:
    """Lines for the institution's own screen: what counts, what does not, and what would change it.

    decided_by: what set rows_per_person, where it is not the default.
    """
    lines = []
    if tally.left_out:
        lines.append(
            f"{tally.left_out} of {tally.rows} rows do not count: they do not fit the schema, or have no person."
        )
    if tally.sizes is None:
        return lines
    whose = f"{tally.fitting} rows of {tally.persons} persons"
    counted, most = tally.counted(rows_per_person), max(tally.sizes, default=0)
    if equal_weight == "persons":
        return [*lines, f"{whose} count; all rows of a person weigh as much as one together."]
    if counted == tally.fitting:
        return [*lines, f"{whose}: all of them count, as no person has more than {max(rows_per_person, most)}."]
    enough = tally.enough_for(MOST)
    some = f"{enough} would count {_share(tally.counted(enough), tally)}, " if enough < most else ""
    return [
        *lines,
        f"{whose}: only {_share(counted, tally)} count, as {decided_by or 'by default'} rows_per_person = {rows_per_person}, "
        f"and {tally.fitting - counted} do not.",
        f"A rows_per_person of {some}{most} all; the noise grows with it. {HOW}",
    ]


def _share(rows: int, tally: Tally) -> str:
    """Never 100 in a hundred of what is not all."""
    part = np.floor(1000 * rows / tally.fitting) / 10
    return f"{rows} ({part:g} %)"


def census_lines(codes: Codes) -> list[str]:
    """The same of linked tables, a line for each: what became of its rows."""
    return [f"{name}: {_in_words(one)}" for name, one in codes.census.items()]


def _in_words(census: Census) -> str:
    reasons = {
        "do not fit": census.unfit,
        "repeat a person": census.repeated,
        "are of nobody in the table of persons": census.strangers,
        "come after an event of the person that forbids them": census.forbidden,
        "are beyond the most of a person that count": census.beyond,
    }
    rest = "".join(f", {rows} {why}" for why, rows in reasons.items() if rows)
    return f"{census.counted} of {census.rows} rows count, of {census.persons} persons{rest}."


def tally_of(codes: Codes, schema: Schema) -> Tally:
    """Of an institution's table in codes of the schema."""
    sizes = None if schema.person is None else _sizes(np.bincount(codes.persons))
    return Tally(len(codes) + codes.left_out, codes.left_out, sizes)


def _sizes(rows: npt.NDArray[np.int64]) -> dict[int, int]:
    """From (persons,) numbers of rows."""
    numbers, persons = np.unique(rows[rows > 0], return_counts=True)
    return dict(zip(numbers.tolist(), persons.tolist(), strict=True))


class PersonCounts:
    """Counts whose rows go by, in parts. Of a person it holds a hash: for a count on a screen that is enough."""

    def __init__(self) -> None:
        self._whose: list[npt.NDArray[np.uint64]] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._held = 0

    def add(self, part: Identifiers) -> None:
        """The rows of a part; those that are nobody's do not count."""
        rows = np.bincount(part.places[part.known], minlength=len(part.distinct)).astype(np.int64)
        texts = np.array(part.distinct.to_pylist(), dtype=object)
        self._whose.append(pd.util.hash_array(texts, categorize=False) if len(texts) else np.empty(0, np.uint64))
        self._rows.append(rows)
        self._held += len(rows)
        if self._held > _HELD:
            self._put_together()
            self._held = 0

    def _put_together(self) -> None:
        whose = np.concatenate([np.empty(0, np.uint64), *self._whose])
        distinct, places = np.unique(whose, return_inverse=True)
        rows = np.zeros(len(distinct), np.int64)
        np.add.at(rows, places, np.concatenate([np.empty(0, np.int64), *self._rows]))
        self._whose, self._rows = [distinct], [rows]

    @property
    def sizes(self) -> dict[int, int]:
        """For each number of rows, how many persons have that many."""
        self._put_together()
        return _sizes(self._rows[0])


class Tallying:
    """Counts the rows and persons of a table while its parts go by."""

    def __init__(self, person: str | None) -> None:
        self._person, self._heads = person, PersonCounts()
        self._rows = self._nobodys = 0

    def over(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same parts; each is counted when the next one is requested, after its user has accepted it."""
        for part in parts:
            yield part
            self._rows += len(part)
            if self._person is not None:
                whose = identifiers_of(part[self._person])
                self._nobodys += int((~whose.known).sum())
                self._heads.add(whose)

    @property
    def tally(self) -> Tally:
        return Tally(self._rows, self._nobodys, None if self._person is None else self._heads.sizes)
