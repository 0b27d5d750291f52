"""Ways to split one table into the tables of institutions, for research; rows keep their order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import category_key
from cohortium.errors import SchemaError, StudyError
from cohortium.identifiers import identifiers_of

MAX_NAME = 80
MAX_INSTITUTIONS = 1000  # of a study
UNKNOWN = "unknown"


def iid(
    table: pd.DataFrame, institutions: int, rng: np.random.Generator, person: str | None = None
) -> dict[str, pd.DataFrame]:
    """Persons, or rows where no column says whose they are, dealt out at random and as evenly as can be."""
    if institutions < 1:
        raise StudyError("E_PLAN_INVALID", "partition", "there is not even one institution", "Raise the number.")
    persons = np.arange(len(table)) if person is None else _persons(table, person)
    dealt = rng.permutation(persons.max(initial=-1) + 1) % institutions
    width = max(2, len(str(institutions)))
    return {f"institution-{i + 1:0{width}}": table[dealt[persons] == i] for i in range(institutions)}


def skewed(
    table: pd.DataFrame,
    institutions: int,
    column: str,
    alpha: float,
    rng: np.random.Generator,
    person: str | None = None,
) -> dict[str, pd.DataFrame]:
    """Dirichlet label skew (Hsu, Qi, Brown 2019, arXiv 1909.06335): persons who share a value of ``column`` are spread
    over the institutions in proportions drawn from a Dirichlet distribution; a small ``alpha`` is very uneven.

    A person goes by the value of the first row. Institutions may be of very different size; none is left empty where there are enough persons.
    """
    if institutions < 1 or not alpha > 0:
        raise StudyError("E_PLAN_INVALID", "partition", "institutions and alpha must be above 0", "Raise them.")
    _check(table, column)
    persons = np.arange(len(table)) if person is None else _persons(table, person)
    first = np.unique(persons, return_index=True)[1]
    values = pd.factorize(table[column].iloc[first])[0]
    home = np.empty(len(first), np.int64)
    for value in np.unique(values):
        who = np.flatnonzero(values == value)
        home[who] = rng.choice(institutions, len(who), p=rng.dirichlet(np.full(institutions, alpha)))
    for empty in np.setdiff1d(np.arange(institutions), home)[: len(home) - 1]:
        home[rng.choice(np.flatnonzero(home == np.bincount(home).argmax()))] = empty
    width = max(2, len(str(institutions)))
    return {f"institution-{i + 1:0{width}}": table[home[persons] == i] for i in range(institutions)}


def by_column(table: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """One institution for each value of a column, and ``unknown`` for the rows without one.

    The column stays in the tables. A person with several values is in several institutions; the study
    must say so.
    """
    _check(table, column)
    codes, values = pd.factorize(table[column])
    words = [*(category_key(v) or UNKNOWN for v in values), UNKNOWN]  # a missing value has code -1, the last
    distinct = {word: number for number, word in enumerate(sorted(set(words)))}
    if len(distinct) > MAX_INSTITUTIONS + 1:
        raise StudyError("E_PLAN_LIMIT", f"column {column!r}", "it has too many values", "Split by another column.")
    home = np.array([distinct[word] for word in words])[codes]
    return {name: table[home == i] for i, name in enumerate(_names(distinct)) if (home == i).any()}


def _persons(table: pd.DataFrame, person: str) -> npt.NDArray[np.int64]:
    """(rows,) int64 from 0, equal for rows of one person; rows without one go together, and are left out later."""
    _check(table, person)
    return pd.factorize(identifiers_of(table[person]).places)[0].astype(np.int64)


def _check(table: pd.DataFrame, column: str) -> None:
    if column not in table.columns:
        raise SchemaError("E_SCHEMA_MISSING", "table", f"there is no column {column!r} to split by", "Name another.")


def _names(words: Iterable[str]) -> list[str]:
    """Names that a study allows for its institutions, each once."""
    names: list[str] = []
    for word in words:
        name, again = _valid(word), 1
        while (free := name if again == 1 else f"{name[: MAX_NAME - 6]}-{again}") in names:
            again += 1
        names.append(free)
    return names


def _valid(word: str) -> str:
    """ASCII letters, digits and `` ._-``, a letter or digit first: accents fall away, the rest is a dash."""
    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", plain).lstrip(" ._-")[:MAX_NAME].rstrip() or UNKNOWN
