"""Ways to split one table into the tables of institutions, for research; rows keep their order.

The institutions are declared publicly, never read off rows: a name, or even their number, that followed from rows would be
released with the study. A person's institution depends on that person's rows alone: other persons in the table do not
affect it. An institution may end up without rows, and answers like any other.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import Boolean, Categorical, Ordinal
from cohortium.data.columns.categories import category_key
from cohortium.data.columns.encoding import index_column, normalized
from cohortium.data.identifiers import identifiers_of
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError, StudyError
from cohortium.system.filenames import is_fit
from cohortium.system.nearest import offered

MAX_NAME = 80
UNNAMED = "institution"  # whose declared value has no letter that a name may have
NOWHERE = -1
FALSE_AND_TRUE = ("false", "true")  # in the order of a boolean column's cells

Tables = dict[str, pd.DataFrame]
Declared = Mapping[str, Sequence[object]]
"""Institutions by name, and the values of a column whose rows are theirs."""


def iid(
    table: pd.DataFrame, institutions: int | Sequence[str], rng: np.random.Generator, person: str | None = None
) -> Tables:
    """Persons, or rows without a person column, assigned at random, each independently.

    institutions: how many, or their names.
    """
    names = numbered(institutions)
    homes = _drawn(_identities(table, person), rng.bytes(16)) * len(names)
    return _split(table, names, homes.astype(np.int64))


def skewed(
    table: pd.DataFrame,
    institutions: int | Sequence[str],
    column: str,
    alpha: float,
    rng: np.random.Generator,
    person: str | None = None,
) -> Tables:
    """Dirichlet label skew (Hsu, Qi, Brown 2019, arXiv 1909.06335): persons who share a value of ``column`` are spread
    over the institutions in proportions drawn from a Dirichlet distribution; a small ``alpha`` is very uneven.

    A person goes by the value of the first row. Institutions may be of very different size.
    """
    names = numbered(institutions)
    if not alpha > 0:
        raise StudyError("E_PLAN_INVALID", "partition", "alpha must be above 0", "Raise it.")
    _check(table, column)
    key, labels = rng.bytes(16), _words(table[column])
    identities = _identities(table, person)
    owners, first = np.unique(identities, return_index=True)
    randomness, homes = _drawn(owners, key), np.empty(len(owners), np.int64)
    for label in np.unique(labels[first]):
        who = labels[first] == label
        seed = int.from_bytes(hashlib.blake2b(str(label).encode(), key=key, digest_size=16).digest(), "little")
        proportions = np.random.default_rng(seed).dirichlet(np.full(len(names), alpha))
        homes[who] = np.searchsorted(np.cumsum(proportions)[:-1], randomness[who], side="right")
    return _split(table, names, homes[np.searchsorted(owners, identities)])


def by_column(table: pd.DataFrame, column: str, institutions: Declared, schema: Schema | None = None) -> Tables:
    """The rows of each institution's declared values of a column; rows with any other value go nowhere.

    schema: reads the column, where it is one of its columns with categories. The column stays in the tables. A person with
    several values may be in several institutions; the study's institutions_per_person must allow it.
    """
    _check(table, column)
    homes: dict[str, int] = {}
    for number, (name, values) in enumerate(institutions.items()):
        for value in values:
            if homes.setdefault(category_key(value), number) != number:
                what = f"two institutions have the value {category_key(value)!r}, {name} and another"
                raise StudyError("E_PLAN_INVALID", f"institutions by {column!r}", what, "Give each value to one.")
    numbers, distinct = pd.factorize(normalized(_as_read(table[column], column, schema)))
    found = np.array([*(homes.get(category_key(value), NOWHERE) for value in distinct), NOWHERE], np.int64)
    return _split(table, tuple(institutions), found[numbers])


def declared_categories(schema: Schema, column: str) -> dict[str, tuple[object, ...]] | None:
    """An institution for each category that the schema declares for a column; None where it declares none."""
    categories = _categories(schema, column)
    return None if categories is None else dict(zip(_names(categories), ((c,) for c in categories), strict=True))


def _categories(schema: Schema, column: str) -> tuple[str, ...] | None:
    match next((c for c in schema.columns if c.name == column), None):
        case Categorical() | Ordinal() as one:
            return tuple(map(category_key, one.categories))
        case Boolean():
            return FALSE_AND_TRUE
        case _:
            return None


def _as_read(values: pd.Series, column: str, schema: Schema | None) -> pd.Series:
    """The values as the schema reads them: an undeclared one is its ``other``, if it has one, or none."""
    categories = None if schema is None else _categories(schema, column)
    if schema is None or categories is None:
        return values
    index = index_column(schema.columns[schema.index(column)], values)
    return pd.Series(np.array([*categories, None], object)[index])


def _split(table: pd.DataFrame, names: Sequence[str], homes: npt.NDArray[np.int64]) -> Tables:
    """The rows of each; ``homes``: (rows,) the place of each row's institution, or NOWHERE."""
    return {name: table[homes == number] for number, name in enumerate(names)}


def _drawn(identities: npt.NDArray[np.uint64], key: bytes) -> npt.NDArray[np.float64]:
    """Numbers from 0 to below 1, of each identity and the key alone."""
    words = pd.util.hash_array(identities.astype(str).astype(object), hash_key=key.hex()[:16], categorize=False)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _identities(table: pd.DataFrame, person: str | None) -> npt.NDArray[np.uint64]:
    """(rows,) equal for rows of one person, by nothing but the person's own rows; rows without one are one person's.

    Without a person column, a row's place follows from its values, and from how many equal rows precede it.
    """
    if person is not None:
        _check(table, person)
        whose = identifiers_of(table[person])
        texts = np.array([*whose.distinct.to_pylist(), ""], object)  # nobody's have the place -1, the last
        return pd.util.hash_array(texts[whose.places])
    content = np.zeros(len(table), np.uint64)
    for name in table.columns:
        content = content * np.uint64(6364136223846793005) + pd.util.hash_array(_words(table[name]))
    alike = pd.Series(content).groupby(content).cumcount().to_numpy(np.uint64)
    return content + alike * np.uint64(0x9E3779B97F4A7C15)


def _words(values: pd.Series) -> npt.NDArray[np.object_]:
    """(rows,) each value as text, whatever type the others give the column; missing values are empty."""
    numbers, distinct = pd.factorize(normalized(values))
    return np.array([*map(category_key, distinct), ""], object)[numbers]


def _check(table: pd.DataFrame, column: str) -> None:
    if column not in table.columns:
        raise SchemaError(
            "E_SCHEMA_MISSING",
            "table",
            f"there is no column {column!r} to split by",
            offered(column, map(str, table.columns), "Columns are"),
        )


def numbered(institutions: int | Sequence[str]) -> tuple[str, ...]:
    """Names; generated where only a number is given."""
    if not isinstance(institutions, int):
        return tuple(institutions)
    if institutions < 1:
        raise StudyError("E_PLAN_INVALID", "partition", "there is not even one institution", "Raise the number.")
    width = max(2, len(str(institutions)))
    return tuple(f"institution-{i + 1:0{width}}" for i in range(institutions))


def _names(words: Iterable[str]) -> list[str]:
    """Names that a study allows for its institutions, each once."""
    names: list[str] = []
    taken: set[str] = set()  # files of these names must be distinct on every disk, and some ignore case
    for word in words:
        name, again = valid_name(word), 1
        while (free := name if again == 1 else f"{name[: MAX_NAME - 6]}-{again}").casefold() in taken:
            again += 1
        taken.add(free.casefold())
        names.append(free)
    return names


def valid_name(word: str) -> str:
    """ASCII letters, digits and `` ._-``, a letter or digit first: accents fall away, the rest is a dash."""
    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9 ._-]+", "-", plain).lstrip(" ._-")[:MAX_NAME].rstrip(" .") or UNNAMED
    return name if is_fit(name) else f"value-{name}"[:MAX_NAME]
