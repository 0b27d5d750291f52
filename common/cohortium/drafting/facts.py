"""ColumnFacts about a column: its values, and how many persons have each; facts about parts of a table add up."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns.absent import AMONG_NUMBERS
from cohortium.data.columns.categories import category_key
from cohortium.data.columns.encoding import MISSING_WORDS, normalized
from cohortium.data.columns.moments import moments_of
from cohortium.data.identifiers import identifier
from cohortium.drafting.datestyles import whole_pattern
from cohortium.drafting.disguises import Disguises
from cohortium.drafting.lattices import needs
from cohortium.drafting.placeholders import may_stand, placeholder_of
from cohortium.errors import SchemaError
from cohortium.system.nearest import offered

FEW_CODES = 12  # whole numbers of so few values are codes
MANY_WORDS = 64  # text of more values is shortened to its most common ones, or dropped
RARE = 10  # persons
MAX_DISTINCT = 20_000  # distinct values counted per column
MAX_PAIRS = 5_000_000  # persons' values counted per column: 8 bytes each
FINEST = 22  # decimals that are counted
LONGEST = 15  # significant digits that are
MOSTLY = 0.95  # of the values must read as numbers or moments, for the column to be one of them
_DAY = (
    r"\d{4}(?P<a>[-/.])\d{1,2}(?P=a)\d{1,2}|\d{1,2}(?P<b>[-/.])\d{1,2}(?P=b)\d{4}"
    r"|\d{2}(?P<c>[-.])\d{2}(?P=c)\d{2}|\d{1,2}/\d{1,2}/\d{2}"
)
_MOMENT = re.compile(rf"({_DAY})([T ]\d{{1,2}}:\d{{2}}.*)?")  # 1.2.3 is a version, and no date
_TOO_EARLY = np.datetime64("1800-01-01", "us")  # a whole number that early is hardly a date, except the year 1
RARE_SPECIAL = "fewer than {} {} have {}; declare them in special if they stand for something else"
_Reals = npt.NDArray[np.float64]
_Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Ends:
    """The RARE persons with the smallest numbers, one number each, ascending."""

    numbers: _Reals = field(default_factory=lambda: np.empty(0))
    persons: _Hashes = field(default_factory=lambda: np.empty(0, np.uint64))

    def __add__(self, other: _Ends) -> _Ends:
        numbers, persons = np.append(self.numbers, other.numbers), np.append(self.persons, other.persons)
        order = np.argsort(numbers, kind="stable")
        _, first = np.unique(persons[order], return_index=True)
        kept = order[np.sort(first)[:RARE]]
        return _Ends(numbers[kept], persons[kept])

    @property
    def last(self) -> float | None:
        """The RARE-th person's number; None of fewer persons."""
        return float(self.numbers[-1]) if len(self.numbers) == RARE else None


@dataclass(frozen=True)
class ColumnFacts:
    """What was seen of one column; facts of parts add up.

    Counted is each value of each person, once: who has a value in twelve rows has it once. Where no column identifies the person of a row,
    each is somebody's.
    unit: what is counted, in words. counts: of the first MAX_DISTINCT values; ``many`` if there were more. decimals, digits: how
    many need so many, and significant ones. lows, highs: numbers, the latter negative, positives: those above zero;
    first_years, last_years: those of moments. All but numbers and days that often stand for something else (``placeholders``).
    infinite: numbers. floats: whether they came as floating point. timed: moments that are within a day, an hour and a minute.
    absent: words that may stand for a missing value; those of ``MISSING_WORDS`` are not among ``counts``, the others are.
    pairs: what is counted already, sorted.
    """

    unit: str = "rows"
    blank: bool = False
    valid: int = 0
    numbers: int = 0
    moments: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    many: bool = False
    absent: Counter[str] = field(default_factory=Counter)
    lowest: float = math.inf
    highest: float = -math.inf
    decimals: tuple[int, ...] = (0,) * (FINEST + 1)
    digits: tuple[int, ...] = (0,) * (LONGEST + 1)
    infinite: int = 0
    floats: bool = False
    lows: _Ends = _Ends()
    highs: _Ends = _Ends()
    positives: _Ends = _Ends()
    first_years: _Ends = _Ends()
    last_years: _Ends = _Ends()
    timed: tuple[int, int, int] = (0, 0, 0)
    pairs: _Hashes = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def nullable(self) -> bool:
        return self.blank

    def without(self, words: frozenset[str]) -> ColumnFacts:
        """ColumnFacts of the same column where such words, in small letters, are no values."""
        taken = {word: count for word, count in self.absent.items() if word.lower() in words and word in self.counts}
        rest = Counter({word: count for word, count in self.counts.items() if word not in taken})
        return replace(self, counts=rest, valid=self.valid - sum(taken.values()), blank=self.blank or bool(taken))

    @cached_property
    def numbered(self) -> dict[float, int]:
        """How many have each finite number that was counted."""
        words = list(self.counts)
        read = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        found: Counter[float] = Counter()
        for word, number in zip(words, (read + 0.0).tolist(), strict=True):
            if math.isfinite(number):
                found[number] += self.counts[word]
        return dict(found)

    @property
    def shared(self) -> list[str]:
        """Values that are no single person's, the most common first."""
        return [word for word, count in self.counts.most_common() if count >= RARE]

    @property
    def rare(self) -> list[str]:
        return sorted(word for word, count in self.counts.items() if count < RARE)

    def __add__(self, other: ColumnFacts) -> ColumnFacts:
        counts, many = _merged(self.counts, other.counts)
        return ColumnFacts(
            unit=other.unit,
            blank=self.blank or other.blank,
            valid=self.valid + other.valid,
            numbers=self.numbers + other.numbers,
            moments=self.moments + other.moments,
            counts=counts,
            many=self.many or other.many or many,
            absent=self.absent + other.absent,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
            decimals=tuple(a + b for a, b in zip(self.decimals, other.decimals, strict=True)),
            digits=tuple(a + b for a, b in zip(self.digits, other.digits, strict=True)),
            infinite=self.infinite + other.infinite,
            floats=self.floats or other.floats,
            positives=self.positives + other.positives,
            lows=self.lows + other.lows,
            highs=self.highs + other.highs,
            first_years=self.first_years + other.first_years,
            last_years=self.last_years + other.last_years,
            timed=_each(self.timed, other.timed),
            pairs=np.sort(np.append(self.pairs, other.pairs), kind="stable"),
        )


def _each(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _merged(counts: Counter[str], more: Counter[str]) -> tuple[Counter[str], bool]:
    """Both counts, and whether values had to be left out."""
    total = counts + more
    if len(total) <= MAX_DISTINCT:
        return total, False
    return Counter(dict(list(total.items())[:MAX_DISTINCT])), True


def facts_of(
    parts: Iterable[pd.DataFrame], person: str | None, named: Sequence[str], drop: Sequence[str], disguises: Disguises
) -> tuple[dict[str, ColumnFacts], dict[str, ColumnFacts]]:
    """ColumnFacts of each column, and of the numbers of those that have them in disguise."""
    total: dict[str, ColumnFacts] = {}
    numbers: dict[str, ColumnFacts] = {}
    rows = 0
    for part in parts:
        names = [str(name) for name in part.columns]
        check_names([*named, *drop], names)
        if len(set(names)) < len(names):
            raise SchemaError(
                "E_SCHEMA_DUP", "draft", "two columns have the same name", "Rename or remove one of them."
            )
        people = np.arange(rows, rows + len(part), dtype=np.uint64)
        rows += len(part)
        if person is not None:
            people = people_of(part.iloc[:, names.index(person)])
        for j, name in enumerate(names):
            if name not in drop:
                known = total.get(name, ColumnFacts())
                total[name] = known + _facts_of(part.iloc[:, j], people, known.pairs, unit_of(person))
                read = disguises.numbers(name, part.iloc[:, j]) if name != person else None
                if read is not None:
                    known = numbers.get(name, ColumnFacts())
                    numbers[name] = known + _facts_of(read, people, known.pairs, unit_of(person))
    return total, numbers


def people_of(values: pd.Series) -> npt.NDArray[np.uint64]:
    """(rows,) a hash of each row's person; rows without one count as one person's."""
    numbers, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    words = [*(identifier(value) or "" for value in distinct), ""]
    hashes: _Hashes = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    return hashes[numbers]


def _facts_of(values: pd.Series, people: _Hashes, counted: _Hashes, unit: str) -> ColumnFacts:
    """ColumnFacts of one part's column, of what is not ``counted`` yet. All but the counting is done once per distinct value."""
    numbers, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    place: dict[str, int] = {}
    keys = [category_key(value) for value in distinct]
    places = [place.setdefault(key, len(place)) if key else -1 for key in keys]
    word = np.array([*places, -1], np.int64)[numbers]  # (rows,) -1: there is none
    words = list(place)
    new, pairs = (
        _uncounted(word, words, people, counted) if unit == "persons" else (np.flatnonzero(word >= 0), counted[:0])
    )
    word, people, blank = word[new], people[new], bool((word < 0).any())
    of_word = np.bincount(word, minlength=len(words)).astype(np.int64)
    all_counts = Counter({w: int(n) for w, n in zip(words, of_word, strict=True)})
    absent = Counter({w: n for w, n in all_counts.items() if n and w.lower() in AMONG_NUMBERS | MISSING_WORDS})
    usual = {w: n for w, n in absent.items() if w.lower() in MISSING_WORDS}
    common, many = _merged(all_counts - Counter(usual), Counter())
    valid, blank, floats = len(new) - sum(usual.values()), blank or bool(usual), values.dtype.kind == "f"
    base = ColumnFacts(
        unit=unit, blank=blank, valid=valid, counts=common, many=many, absent=absent, floats=floats, pairs=pairs
    )
    return _with_moments(_with_numbers(base, words, word, people), words, word, people)


def _uncounted(
    word: npt.NDArray[np.int64], words: list[str], people: _Hashes, counted: _Hashes
) -> tuple[npt.NDArray[np.int64], _Hashes]:
    """Rows with a person's value that is not counted yet, one for each; and these pairs, sorted."""
    there = np.flatnonzero(word >= 0)
    if not len(there) or len(counted) >= MAX_PAIRS:
        return there[:0], counted[:0]
    hashes = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    pairs, first = np.unique(people[there] * np.uint64(0x9E3779B97F4A7C15) + hashes[word[there]], return_index=True)
    at = np.searchsorted(counted, pairs)
    new = np.append(counted, np.uint64(0))[at] != pairs
    return there[first[new]], pairs[new]


def _with_numbers(facts: ColumnFacts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> ColumnFacts:
    read = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    of_row = read[word]
    infinite, finite = np.isinf(of_row), np.isfinite(of_row)
    if not finite.any():
        return replace(facts, numbers=int(infinite.sum()), infinite=int(infinite.sum()))
    numbers, plain = of_row[finite], finite & ~may_stand(of_row)
    needed = np.array([needs(x) if math.isfinite(x) else (0, 0) for x in read.tolist()], np.int64).reshape(-1, 2)
    decimals, digits = np.minimum(needed[word[plain]], [FINEST, LONGEST]).T
    above = plain & (of_row > 0)
    return replace(
        facts,
        numbers=int((~np.isnan(of_row)).sum()),
        infinite=int(infinite.sum()),
        lowest=float(numbers.min()),
        highest=float(numbers.max()),
        decimals=tuple(np.bincount(decimals, minlength=FINEST + 1).tolist()),
        digits=tuple(np.bincount(digits, minlength=LONGEST + 1).tolist()),
        lows=_Ends() + _Ends(of_row[plain], people[plain]),
        highs=_Ends() + _Ends(-of_row[plain], people[plain]),
        positives=_Ends() + _Ends(of_row[above], people[above]),
    )


def _with_moments(facts: ColumnFacts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> ColumnFacts:
    read = _moments_in(words)
    known = ~np.isnat(read)
    if not known.any():
        return facts
    moments = read.astype("datetime64[s]").tolist()
    apart = np.array([moment is not None and placeholder_of(moment) is None for moment in moments])
    years, after = np.full(len(words), np.nan), np.zeros(len(words), np.int64)
    years[apart] = [moments[i].year for i in np.flatnonzero(apart)]
    after[apart] = (read[apart] - read[apart].astype("datetime64[D]")).astype("timedelta64[s]").astype(np.int64)
    there = ~np.isnan(years[word])
    return replace(
        facts,
        moments=int(known[word].sum()),
        first_years=_Ends() + _Ends(years[word][there], people[there]),
        last_years=_Ends() + _Ends(-years[word][there], people[there]),
        timed=(int((after > 0)[word].sum()), int((after % 3600 > 0)[word].sum()), int((after % 60 > 0)[word].sum())),
    )


def _moments_in(words: list[str]) -> npt.NDArray[np.datetime64]:
    """(words,) the moments that words with a year, a month and a day are."""
    found = np.full(len(words), np.datetime64("NaT", "us"))
    patterns_of = [(whole_pattern(w) or "") if not _MOMENT.fullmatch(w) else "mixed" for w in words]
    for pattern in sorted({*patterns_of} - {""}):
        like = np.array([p == pattern for p in patterns_of])
        texts = pd.Series([w for w, one in zip(words, like, strict=True) if one], dtype="str")
        read = moments_of(texts, "" if pattern == "mixed" else pattern).to_numpy().astype("datetime64[us]")
        found[like] = np.where(read < _TOO_EARLY, np.datetime64("NaT", "us"), read) if pattern != "mixed" else read
    return found


def unit_of(person: str | None) -> str:
    return "rows" if person is None else "persons"


def check_names(wanted: Iterable[str], names: Sequence[str]) -> None:
    """SchemaError E_SCHEMA_MISSING for a wanted column that the table lacks."""
    for name in wanted:
        if name not in names:
            what = f"there is no column {name!r} in the table"
            raise SchemaError("E_SCHEMA_MISSING", "draft", what, offered(name, names, "Columns are"))
