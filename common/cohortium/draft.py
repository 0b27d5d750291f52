"""Before step 1: a first schema, proposed from data, and how a table fits a schema.

A schema must not be read off private rows: bounds and categories as they occur can betray persons
(SECURITY.md P10). But nobody writes one from nothing. ``draft`` proposes, for a person to review, and what it proposes is
no schema yet: whatever follows from rows is marked (``review``), and nobody signs or simulates a schema with a mark left.

Three rules keep single persons out of what somebody overlooks, and none of them is differential privacy:

    a value is listed if RARE or more persons have it (rows, where no person column is named); the screen alone shows others
    bounds lie beyond the RARE-th lowest and highest person's number, never on it: on multiples of a round step that is a
        quarter of the range between them or more (``wide_bounds``)
    what is written down holds no count and no value but those; counts are for the institution's own screen

Files are read in parts: a fact about a part and a fact about another add up to one about both.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tomli_w

from cohortium import schema as schemas
from cohortium.derived import Watch
from cohortium.encoding import INVALID, MISSING_WORDS, category_key, indices, told_apart
from cohortium.errors import SchemaError
from cohortium.nearest import offered
from cohortium.rules import broken_by
from cohortium.schema import Boolean, Categorical, Continuous, Datetime, Schema
from cohortium.shown import schema_page, schema_text
from cohortium.texts import for_terminal, trouble

OTHER = "__OTHER__"
FEW_CODES = 12  # whole numbers of so few values are codes
MANY_WORDS = 64  # text of more values is shortened to its most common ones, or dropped
COMMON_WORDS = 30
RARE = 10  # persons
LONG_TEXT = 100
MAX_DISTINCT = 20_000  # distinct values counted per column
MAX_PAIRS = 5_000_000  # persons' values counted per column: 8 bytes each
MAX_DECIMALS = 6
LONG_NAME = 200
READ_OF_TABLE = ("name", "columns")  # the file's name, and which columns it has and which of them are left out
READ: dict[type[schemas._Column], tuple[str, ...]] = {  # off rows, what is not there as well as what is
    Boolean: ("kind", "nullable"),
    Categorical: ("kind", "nullable", "categories", "other"),
    Continuous: ("kind", "nullable", "lower", "upper", "decimals", "bins", "points"),
    Datetime: ("kind", "nullable", "lower", "upper", "resolution"),
}
MOSTLY = 0.95  # of the values must read as numbers or moments, for the column to be one of them
_IDENTIFIERS = frozenset(
    {
        "id",
        "ids",
        "uuid",
        "guid",
        "ssn",
        "mrn",
        "nhs",
        "passport",
        "iban",
        "account",
        "email",
        "mail",
        "phone",
    }
    | {
        "telephone",
        "mobile",
        "fax",
        "name",
        "names",
        "surname",
        "firstname",
        "lastname",
        "fullname",
        "username",
    }
    | {"address", "street", "subject", "patient", "person", "customer", "client"}
)
_MOMENT = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_LEADING_ZERO = re.compile(r"0[0-9]")
_YEAR_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Note:
    """Why something is proposed. ``column`` is in the schema, or was dropped from it.

    text: holds nothing of the rows. seen: what was seen of them, for the institution's own screen.
    """

    column: str
    text: str
    dropped: bool = False
    seen: str = ""


@dataclass(frozen=True)
class Draft:
    """A proposal: its schema is marked wherever it follows from rows."""

    schema: Schema
    notes: tuple[Note, ...]

    def __repr__(self) -> str:
        return f"<Draft of {schema_text(self.schema).strip('<>')}>"

    def _repr_html_(self) -> str:
        return schema_page(self.schema)

    def notes_on(self, column: str) -> tuple[Note, ...]:
        return tuple(n for n in self.notes if n.column == column)


def draft(
    parts: Iterable[pd.DataFrame],
    name: str,
    targets: Sequence[str] = (),
    person: str | None = None,
    drop: Sequence[str] = (),
) -> Draft:
    """A schema proposed from the table that comes in ``parts``; an unknown name raises E_SCHEMA_MISSING."""
    kept = [*targets, *([person] if person is not None else [])]
    if both := sorted({*kept} & {*drop}):
        raise SchemaError("E_SCHEMA_INVALID", "draft", f"column {both[0]!r} is named and dropped", "Decide for one.")
    watch = Watch([*drop, *([person] if person is not None else [])])
    facts = _facts(watch.through(parts), person, kept, drop)
    proposals = [_propose(column, known, column in targets) for column, known in facts.items() if column != person]
    columns = tuple(p.column for p in proposals if p.column is not None)
    if not columns:
        fix = f"Add rows: what fewer than {RARE} {_unit(person)} have is not proposed. Or drop fewer columns."
        raise SchemaError("E_SCHEMA_INVALID", "draft", "no column is left", fix)
    notes = tuple(note for p in proposals for note in p.notes)
    notes += tuple(Note(name, "", seen=seen) for name, seen in watch.told([c.name for c in columns], targets))
    if person is not None and facts[person].nullable:
        notes += (Note(person, "rows without a person are left out of the table"),)
    return Draft(Schema(name=_named(name), person=person, columns=columns, review=READ_OF_TABLE), notes)


def _named(name: str) -> str:
    """The table's name, or a plain one where that can be none."""
    return name if 0 < len(name) <= LONG_NAME and not trouble(name) else "table"


def _unit(person: str | None) -> str:
    return "rows" if person is None else "persons"


def check_names(wanted: Iterable[str], names: Sequence[str]) -> None:
    """SchemaError E_SCHEMA_MISSING for a wanted column that the table lacks."""
    for name in wanted:
        if name not in names:
            what = f"there is no column {name!r} in the table"
            raise SchemaError("E_SCHEMA_MISSING", "draft", what, offered(name, names, "Columns are"))


# What is known of a column


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
class _Facts:
    """What was seen of one column; facts of parts add up.

    Counted is each value of each person, once: who has a value in twelve rows has it once. Where nobody says whose a row is,
    each is somebody's.
    unit: what is counted, in words. counts: of the first MAX_DISTINCT values; ``many`` if there were more. decimals: how
    many need so many. lows, highs: numbers, the latter negative; first_years, last_years: those of moments.
    timed: moments within a day. pairs: what is counted already, sorted.
    """

    unit: str = "rows"
    blank: bool = False
    valid: int = 0
    numbers: int = 0
    moments: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    many: bool = False
    lowest: float = math.inf
    highest: float = -math.inf
    decimals: tuple[int, ...] = (0,) * (MAX_DECIMALS + 1)
    lows: _Ends = _Ends()
    highs: _Ends = _Ends()
    first_years: _Ends = _Ends()
    last_years: _Ends = _Ends()
    year_first: bool = True
    timed: int = 0
    pairs: _Hashes = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def nullable(self) -> bool:
        return self.blank

    @property
    def shared(self) -> list[str]:
        """Values that are no single person's, the most common first."""
        return [word for word, count in self.counts.most_common() if count >= RARE]

    @property
    def rare(self) -> list[str]:
        return sorted(word for word, count in self.counts.items() if count < RARE)

    def __add__(self, other: _Facts) -> _Facts:
        counts, many = _merged(self.counts, other.counts)
        return _Facts(
            unit=other.unit,
            blank=self.blank or other.blank,
            valid=self.valid + other.valid,
            numbers=self.numbers + other.numbers,
            moments=self.moments + other.moments,
            counts=counts,
            many=self.many or other.many or many,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
            decimals=tuple(a + b for a, b in zip(self.decimals, other.decimals, strict=True)),
            lows=self.lows + other.lows,
            highs=self.highs + other.highs,
            first_years=self.first_years + other.first_years,
            last_years=self.last_years + other.last_years,
            year_first=self.year_first and other.year_first,
            timed=self.timed + other.timed,
            pairs=np.sort(np.append(self.pairs, other.pairs), kind="stable"),
        )


def _merged(counts: Counter[str], more: Counter[str]) -> tuple[Counter[str], bool]:
    """Both counts, and whether values had to be left out."""
    total = counts + more
    if len(total) <= MAX_DISTINCT:
        return total, False
    return Counter(dict(list(total.items())[:MAX_DISTINCT])), True


def _facts(
    parts: Iterable[pd.DataFrame], person: str | None, named: Sequence[str], drop: Sequence[str]
) -> dict[str, _Facts]:
    total: dict[str, _Facts] = {}
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
            people = _people(part.iloc[:, names.index(person)])
        for j, name in enumerate(names):
            if name not in drop:
                known = total.get(name, _Facts())
                total[name] = known + _facts_of(part.iloc[:, j], people, known.pairs, _unit(person))
    return total


def _people(values: pd.Series) -> _Hashes:
    """(rows,) a hash of whose each row is; rows that do not say it are all one person's."""
    numbers, distinct = pd.factorize(told_apart(values), use_na_sentinel=True)
    words = [*map(category_key, distinct), ""]
    hashes: _Hashes = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    return hashes[numbers]


def _facts_of(values: pd.Series, people: _Hashes, counted: _Hashes, unit: str) -> _Facts:
    """Facts of one part's column, of what is not ``counted`` yet. All but the counting is done once per distinct value."""
    numbers, distinct = pd.factorize(told_apart(values), use_na_sentinel=True)
    place: dict[str, int] = {}
    keys = [category_key(value) for value in distinct]
    places = [-1 if key.lower() in MISSING_WORDS else place.setdefault(key, len(place)) for key in keys]
    word = np.array([*places, -1], np.int64)[numbers]  # (rows,) -1: there is none
    words = list(place)
    new, pairs = (
        _uncounted(word, words, people, counted) if unit == "persons" else (np.flatnonzero(word >= 0), counted[:0])
    )
    word, people, blank = word[new], people[new], bool((word < 0).any())
    of_word = np.bincount(word, minlength=len(words)).astype(np.int64)
    common, many = _merged(Counter({w: int(n) for w, n in zip(words, of_word, strict=True)}), Counter())
    base = _Facts(unit=unit, blank=blank, valid=len(new), counts=common, many=many, pairs=pairs)
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


def _with_numbers(facts: _Facts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> _Facts:
    read = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    of_row = read[word]
    finite = np.isfinite(of_row)
    if not finite.any():
        return facts
    numbers = of_row[finite]
    needed = np.full(len(words), MAX_DECIMALS)
    needed[np.isfinite(read)] = _decimals(read[np.isfinite(read)])
    return replace(
        facts,
        numbers=int((~np.isnan(of_row)).sum()),
        lowest=float(numbers.min()),
        highest=float(numbers.max()),
        decimals=tuple(np.bincount(needed[word[finite]], minlength=MAX_DECIMALS + 1).tolist()),
        lows=_Ends() + _Ends(numbers, people[finite]),
        highs=_Ends() + _Ends(-numbers, people[finite]),
    )


def _decimals(numbers: _Reals) -> npt.NDArray[np.int64]:
    """(numbers,) the fewest decimals that tell each, at most MAX_DECIMALS."""
    needed = np.full(len(numbers), MAX_DECIMALS)
    for decimals in range(MAX_DECIMALS - 1, -1, -1):
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest there are
            rounded = np.round(numbers, decimals)
        needed[np.isclose(rounded, numbers, rtol=1e-12, atol=10.0 ** -(MAX_DECIMALS + 2))] = decimals
    return needed


def _with_moments(facts: _Facts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> _Facts:
    like = [i for i, text in enumerate(words) if _MOMENT.fullmatch(text)]
    texts = pd.Series([words[i] for i in like], dtype="str")
    read = pd.to_datetime(texts, errors="coerce", utc=True, format="mixed").dt.tz_localize(None)
    known = read.notna().to_numpy(bool)
    if not known.any():
        return facts
    years, timed = np.full(len(words), np.nan), np.zeros(len(words), bool)
    years[np.array(like)[known]] = read[known].dt.year
    timed[np.array(like)[known]] = read[known] != read[known].dt.normalize()
    there = ~np.isnan(years[word])
    return replace(
        facts,
        moments=int(there.sum()),
        first_years=_Ends() + _Ends(years[word][there], people[there]),
        last_years=_Ends() + _Ends(-years[word][there], people[there]),
        year_first=bool(texts.str.match(_YEAR_FIRST.pattern).all()),
        timed=int(timed[word].sum()),
    )


# Proposals


@dataclass(frozen=True)
class _Proposal:
    column: schemas.Column | None
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Found:
    """A column, or none; why, in words that hold nothing of the rows, and what was seen of them."""

    column: schemas.Column | None
    texts: tuple[str, ...] = ()
    seen: str = ""


def _propose(name: str, facts: _Facts, target: bool) -> _Proposal:
    """A column for what is known, or none, with notes on why."""
    reason = _reason_to_drop(name, facts, target)
    if reason:
        return _Proposal(None, (Note(name, reason, dropped=True),))
    found = _column(name, facts)
    column, texts = found.column, found.texts
    if column is not None and column.size < 2:
        column, texts = None, (f"dropped: fewer than two of its values are shared by {RARE} {facts.unit}",)
    if column is None:
        return _Proposal(None, tuple(Note(name, text, dropped=True, seen=found.seen) for text in texts))
    marked = replace(column, target=target, review=READ[type(column)])
    notes = [Note(name, text) for text in texts]
    return _Proposal(marked, (*notes, *([Note(name, "", seen=found.seen)] if found.seen else [])))


def _reason_to_drop(name: str, facts: _Facts, target: bool) -> str:
    """Why nothing may be proposed for the column; empty where something can."""
    if not name or len(name) > LONG_NAME:
        return f"dropped: a column needs a name of 1 to {LONG_NAME} characters"
    if trouble(name):
        return f"dropped: its name {trouble(name)}; rename it"
    if not facts.valid:
        return "dropped: every cell is empty"
    if facts.distinct == 1 and not facts.nullable:
        return "dropped: constant"
    if target:
        return ""
    return _identifier(name, facts)


def _identifier(name: str, facts: _Facts) -> str:
    """Why the column looks as if it named persons; empty if it does not."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    named = not _IDENTIFIERS.isdisjoint(words)
    wide = facts.many or facts.distinct > MANY_WORDS or facts.distinct > max(20, facts.valid / 2)
    counted = facts.numbers == facts.valid == facts.distinct and not any(facts.decimals[1:])
    if counted and facts.valid > 20 and facts.highest - facts.lowest == facts.distinct - 1:
        return "dropped: it numbers the rows"
    if not (named and wide):
        return ""
    hint = "" if facts.distinct == facts.valid else "; if it tells whose row it is, draft again with it as the person"
    return f"dropped: its name and many values look like an identifier{hint}"


def _column(name: str, facts: _Facts) -> _Found:
    if facts.numbers >= MOSTLY * facts.valid and not _are_names(facts):
        return _number_column(name, facts)
    if facts.moments >= MOSTLY * facts.valid:
        return _moment_column(name, facts)
    if {w.lower() for w in facts.counts} == {"true", "false"}:
        return _Found(Boolean(name=name, nullable=facts.nullable))
    return _text_column(name, facts)


def _are_names(facts: _Facts) -> bool:
    """Whether numbers are but names: few and beside words, or with leading zeros like area codes."""
    beside_words = facts.numbers < facts.valid and facts.distinct <= FEW_CODES
    single = facts.distinct == 1 and not _is_whole(facts)
    return beside_words or single or any(_LEADING_ZERO.match(word) for word in facts.counts)


# Numbers


def _number_column(name: str, facts: _Facts) -> _Found:
    if facts.distinct == 1 or _are_codes(facts):
        return _code_column(name, facts)
    lowest, highest = facts.lows.last, facts.highs.last
    if lowest is None or highest is None or lowest >= -highest:
        return _Found(None, (f"dropped: fewer than {RARE} {facts.unit} are on either side of its middle",))
    needed = _needed(facts)
    grid = next((d for d in range(needed, -1, -1) if _is_grid(lowest, -highest, d)), None)
    if grid is None:
        return _Found(None, ("dropped: its numbers are too large to tell apart, like an identifier's",))
    lower, upper = wide_bounds(lowest, -highest, grid)
    nullable = facts.nullable or facts.numbers < facts.valid
    column = Continuous(name=name, nullable=nullable, lower=lower, upper=upper, decimals=grid)
    text = f"bounds are round numbers beyond what all but fewer than {RARE} {facts.unit} have"
    return _with_points(column, facts, (text, *_unreadable(facts)))


def _needed(facts: _Facts) -> int:
    """Decimals that all but a few need."""
    return next(d for d in range(MAX_DECIMALS + 1) if sum(facts.decimals[d + 1 :]) < RARE)


def _is_grid(lowest: float, highest: float, decimals: int) -> bool:
    """Whether bounds around these, with so many decimals, are numbers that can be told apart."""
    if max(abs(lowest), abs(highest)) > 2.0**50 / 10.0**decimals:
        return False
    lower, upper = wide_bounds(lowest, highest, decimals)
    return max(-lower, upper) <= 2.0**50 / 10.0**decimals


def _code_column(name: str, facts: _Facts) -> _Found:
    """Whole numbers that are names; where some are rare, texts, as they can have another category beside them."""
    codes = sorted(facts.shared, key=int)
    texts = (f"codes of {RARE} {facts.unit} or more; if they have an order, make the column ordinal",)
    if not facts.rare:
        return _Found(Categorical(name=name, nullable=facts.nullable, categories=tuple(map(int, codes))), texts)
    return _categorical(name, facts, codes, texts)


def _is_whole(facts: _Facts) -> bool:
    return facts.distinct <= FEW_CODES and all(_WHOLE.fullmatch(word) for word in facts.counts)


def _are_codes(facts: _Facts) -> bool:
    return _is_whole(facts) and facts.lowest >= 0 and facts.highest < 1000


def wide_bounds(lowest: float, highest: float, decimals: int) -> tuple[float, float]:
    """Bounds beyond both, and on neither: multiples of a step of 1, 2 or 5 times a power of ten.

    The step is a quarter of the range, or more, and no finer than the decimals. A bound is one to two steps away, for what few
    persons have, and tells no more than between which two multiples it lies what it bounds. Where nothing is below zero, or
    above, zero may be a bound.
    """
    raw = max((highest - lowest) / 4, 10.0**-decimals)
    power = math.floor(math.log10(raw))
    factor = next(f for f in (1, 2, 5, 10) if f * 10.0**power >= raw * (1 - 1e-9))
    step, digits = factor * 10.0**power, max(0, -power)
    lower = round((math.ceil(lowest / step - 1e-9) - 2) * step, digits)
    upper = round((math.floor(highest / step + 1e-9) + 2) * step, digits)
    lower = 0.0 if lowest >= 0 > lower else lower
    upper = 0.0 if highest <= 0 < upper else upper
    return lower + 0.0, upper + 0.0  # no negative zero


def _with_points(column: Continuous, facts: _Facts, texts: tuple[str, ...]) -> _Found:
    """The column with a cell for each value that many share, where its own are too wide to tell such a value."""
    few = facts.distinct <= FEW_CODES
    shared = _shared_numbers(facts, RARE if few else max(RARE, 0.1 * facts.valid))
    points = {round(x, column.decimals) for x in shared if column.lower <= x <= column.upper}
    points = {x for x in points if column.lower <= x <= column.upper and not _has_a_cell(column, x)}
    if not points:
        return _Found(column, texts)
    text = f"points are values that many {facts.unit} share; let stand only what the public knows"
    return _Found(replace(column, points=tuple(sorted(points)), bins=1 if few else None), (*texts, text))


def _shared_numbers(facts: _Facts, least: float) -> set[float]:
    """Numbers that at least so many have."""
    words = [w for w, count in facts.counts.items() if count >= least]
    numbers = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return {float(x) for x in numbers[np.isfinite(numbers)]}


def _has_a_cell(column: Continuous, value: float) -> bool:
    index = round((value - column.lower) * 10**column.decimals)
    cell = int(np.searchsorted(column.cuts, index, side="right")) - 1
    return int(column.cuts[cell + 1] - column.cuts[cell]) == 1


def _unreadable(facts: _Facts) -> list[str]:
    if facts.numbers == facts.valid:
        return []
    return ["some cells are not numbers; they will count as missing"]


# Moments


def _moment_column(name: str, facts: _Facts) -> _Found:
    first, last = facts.first_years.last, facts.last_years.last
    if first is None or last is None:
        return _Found(None, (f"dropped: fewer than {RARE} {facts.unit} have a date that can be read",))
    lower, upper = (min(max(int(year), 1), 9999) for year in wide_bounds(first, max(-last, first), 0))
    days = facts.timed < RARE
    column = Datetime(
        name=name,
        nullable=facts.nullable or facts.moments < facts.valid,
        lower=datetime(lower, 1, 1),
        upper=datetime(upper, 12, 31) if days else datetime(upper, 12, 31, 23, 59, 59),
        resolution="day" if days else "second",
    )
    texts = [f"bounds are round years beyond what all but fewer than {RARE} {facts.unit} have"]
    if not facts.year_first:
        texts.append("day and month may be mixed up: write dates as year-month-day")
    return _Found(column, tuple(texts))


# Text


def _text_column(name: str, facts: _Facts) -> _Found:
    """Values that are no single person's as categories, the most common ones where they are many; or nothing."""
    if sum(len(w) > LONG_TEXT for w in facts.counts) > facts.distinct / 10:
        return _Found(None, ("dropped: free text",))
    if facts.many or facts.distinct > max(20, facts.valid / 2):
        return _Found(None, ("dropped: nearly every row has a value of its own, like an identifier's or free text",))
    words = facts.shared if len(facts.shared) <= MANY_WORDS else facts.shared[:COMMON_WORDS]
    if sum(facts.counts[w] for w in words) < 0.6 * facts.valid:
        return _Found(None, ("dropped: most of its values are not common",), _seen(facts))
    text = f"values of {RARE} {facts.unit} or more"
    if len(words) < len(facts.shared):
        text = f"the {COMMON_WORDS} most common values"
    return _categorical(name, facts, sorted(words), (text,))


def _categorical(name: str, facts: _Facts, words: list[str], texts: tuple[str, ...]) -> _Found:
    """Categories as they come, and another one for values that are none of them."""
    allowed = [w for w in words if not trouble(w) and len(w) <= LONG_TEXT]
    if len(allowed) < len(words):
        texts = (*texts, f"values that a spreadsheet would run, that nobody sees, or that are long, become {OTHER}")
    other = OTHER if len(allowed) < facts.distinct else None
    if other is not None and other not in allowed:
        allowed.append(other)
    column = Categorical(name=name, nullable=facts.nullable, categories=tuple(allowed), other=other)
    return _Found(column, texts, _seen(facts))


def _seen(facts: _Facts) -> str:
    """Which values are left out for being rare: for the institution's own screen."""
    if not facts.rare:
        return ""
    shown = ", ".join(json.dumps(w, ensure_ascii=False) for w in facts.rare[:5]) + (
        ", ..." if len(facts.rare) > 5 else ""
    )
    return f"not written down, as fewer than {RARE} {facts.unit} have them: {shown}. Add what the public knows"


# Writing

_HEAD = """\
# A PROPOSAL READ FROM DATA. A person must review it before it is used.
#
# What is read off private rows can betray persons, even what many of them share. Go through every line marked REVIEW: let
# stand what the public knows anyway (a code book, a law, common sense), correct the rest, then delete the line. Nobody can
# sign a study, and nothing is simulated, with such a line left.
# A row with an empty cell in a column that is not nullable is left out; other institutions may have such.
# {counted}
"""
_BY_PERSON = "Persons were counted, not rows."
_BY_ROW = "Rows were counted, as no person column was named: one person of many rows may be behind a value (--person)."
_DELETE = "# REVIEW: read off rows; declare what the public knows, then delete this line"


def render(draft: Draft) -> str:
    """The proposal as ``schema.toml``, marks and all: loading it gives the same schema. Nothing beside the schema is of the rows."""
    document = schemas.to_document(draft.schema)
    head = _HEAD.format(counted=_BY_ROW if draft.schema.person is None else _BY_PERSON)
    table = f"name = {_quoted(draft.schema.name)}\n" + _mark(document.get("review", []))
    blocks = [_block(block, draft.notes_on(block["name"])) for block in document["column"]]
    dropped = [
        f"# {for_terminal(_quoted(n.column))} {for_terminal(n.text)}\n" for n in draft.notes if n.dropped and n.text
    ]
    return "\n".join([head, table, *blocks, "".join(dropped)]).rstrip() + "\n"


def _block(block: dict[str, Any], notes: Sequence[Note]) -> str:
    comments = [f"# {for_terminal(note.text)}\n" for note in notes if note.text and not note.dropped]
    entries = (_entry(key, value) for key, value in block.items() if key != "review")
    return "".join([*comments, "[[column]]\n", *entries, _mark(block.get("review", []))])


def _mark(review: list[str]) -> str:
    return _entry("review", review).rstrip("\n") + f"  {_DELETE}\n" if review else ""


def _entry(key: str, value: Any) -> str:
    if not isinstance(value, list):
        return tomli_w.dumps({key: value})
    lines, line = [], f"{key} = ["
    for i, item in enumerate(value):
        text = tomli_w.dumps({"x": item})[4:].rstrip("\n") + ("," if i < len(value) - 1 else "]")
        if len(line) + len(text) > 108 and line.strip():
            lines.append(line.rstrip())
            line = "    "
        line += text + " "
    return "\n".join([*lines, line.rstrip()]) + "\n"


def _quoted(text: str) -> str:
    return tomli_w.dumps({"x": text})[4:].rstrip("\n")


# How a table fits


@dataclass(frozen=True)
class Misfit:
    """What does not fit in one column. Counts of private rows: for the institution's own screen."""

    column: str
    missing: int = 0
    unreadable: int = 0
    undeclared: int = 0
    beyond: int = 0
    fix: str = ""

    def __add__(self, other: Misfit) -> Misfit:
        return Misfit(
            self.column,
            self.missing + other.missing,
            self.unreadable + other.unreadable,
            self.undeclared + other.undeclared,
            self.beyond + other.beyond,
        )


@dataclass(frozen=True)
class Fit:
    """How rows fit a schema. breaking: for each of the schema's constraints the rows that break it, whatever else is wrong with them."""

    rows: int
    left_out: int
    misfits: tuple[Misfit, ...]
    breaking: tuple[int, ...] = ()


def fit(parts: Iterable[pd.DataFrame], schema: Schema) -> Fit:
    """How many rows of the table fit the schema, and what is wrong with the others, column by column."""
    empty = Fit(0, 0, tuple(Misfit(name) for name in schema.names), (0,) * len(schema.constraints))
    total = reduce(_joined, map(partial(_fit_of, schema), parts), empty)
    found = [replace(m, fix=_fix(schema.columns[j], m)) for j, m in enumerate(total.misfits)]
    return replace(total, misfits=tuple(m for m in found if m.fix))


def _joined(a: Fit, b: Fit) -> Fit:
    misfits = tuple(x + y for x, y in zip(a.misfits, b.misfits, strict=True))
    breaking = tuple(x + y for x, y in zip(a.breaking, b.breaking, strict=True))
    return Fit(a.rows + b.rows, a.left_out + b.left_out, misfits, breaking)


def _fit_of(schema: Schema, part: pd.DataFrame) -> Fit:
    index, misfits = indices(part, schema), []
    broken = [broken_by(rules, index) for rules in schema.rules.each]
    out = reduce(np.logical_or, broken, np.zeros(len(part), bool))
    for j, column in enumerate(schema.columns):
        invalid = index[:, j] == INVALID
        out |= invalid & (not column.nullable)
        misfits.append(_misfit(column, part[column.name], invalid))
    return Fit(len(part), int(out.sum()), tuple(misfits), tuple(int(rows.sum()) for rows in broken))


def _misfit(column: schemas.Column, values: pd.Series, invalid: npt.NDArray[np.bool_]) -> Misfit:
    words = values.astype("string").str.strip().str.lower()
    empty = words.isin(MISSING_WORDS).to_numpy(bool) | values.isna().to_numpy(bool)
    wrong = int((invalid & ~empty).sum())
    named = hasattr(column, "categories")
    return Misfit(
        column.name,
        missing=0 if column.nullable else int((invalid & empty).sum()),
        unreadable=0 if named else wrong,
        undeclared=wrong if named else 0,
        beyond=_beyond(column, values),
    )


def _beyond(column: schemas.Column, values: pd.Series) -> int:
    if not isinstance(column, Continuous):
        return 0
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return int(((numbers < column.lower) | (numbers > column.upper)).sum())


def _fix(column: schemas.Column, found: Misfit) -> str:
    """The next step for the first problem of the column; empty if there is none."""
    if found.missing:
        return "Set nullable = true to keep the rows with an empty cell."
    if found.unreadable:
        return f"Write the cells as {column.kind} values; as they are, they count as missing."
    if found.undeclared:
        return 'Declare the categories, or other = "__OTHER__"; as they are, they count as missing.'
    return "Widen the bounds; as they are, values beyond are clipped to them." if found.beyond else ""
