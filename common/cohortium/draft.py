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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property, partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tomli_w

from cohortium import schema as schemas
from cohortium.absent import AMONG_NUMBERS, AMONG_TEXTS, PERHAPS, are_missing, declared, words_seen
from cohortium.categories import category_key
from cohortium.datestyles import finest, style, whole_pattern
from cohortium.derived import Following
from cohortium.disguises import LOOKED_AT, Disguises, may_part_thousands
from cohortium.encoding import INVALID, MISSING_WORDS, indices, told_apart
from cohortium.errors import SchemaError
from cohortium.grids import holds
from cohortium.identifiers import identifier, identifiers_of
from cohortium.lattices import Lattice, decades, lattice, needs, significant, spans, within
from cohortium.misfits import ALIKE, BEYOND, FIXES, INFINITE, found_in
from cohortium.moments import moments_of
from cohortium.nearest import offered
from cohortium.placeholders import may_stand, placeholder_day, placeholder_of, stand_apart
from cohortium.rules import broken_by
from cohortium.schema import Boolean, Categorical, Continuous, Datetime, Schema
from cohortium.shown import schema_page, schema_text
from cohortium.tally import Heads, Tally, Watch
from cohortium.texts import for_terminal, trouble, trouble_of_value
from cohortium.written import looks_like_a_number, told_by

OTHER = "__OTHER__"
FEW_CODES = 12  # whole numbers of so few values are codes
MANY_WORDS = 64  # text of more values is shortened to its most common ones, or dropped
COMMON_WORDS = 30
RARE = 10  # persons
LONG_TEXT = 100
FEW_DAYS = 5  # whole numbers that are dates must be more
MAX_DISTINCT = 20_000  # distinct values counted per column
MAX_PAIRS = 5_000_000  # persons' values counted per column: 8 bytes each
MAX_DECIMALS = 6  # of numbers about one or larger that floating point fills with digits
FINEST = 22  # decimals that are counted
LONGEST = 15  # significant digits that are
LONG_NAME = 200
READ_OF_TABLE = ("name", "columns")  # the file's name, and which columns it has and which of them are left out
READ: dict[type[schemas._Column], tuple[str, ...]] = {  # off rows, what is not there as well as what is
    Boolean: ("kind", "nullable", "missing"),
    Categorical: ("kind", "nullable", "missing", "categories", "other"),
    Continuous: ("kind", "nullable", "missing", "lower", "upper", "decimals", "bins", "points", "format"),
    Datetime: ("kind", "nullable", "missing", "lower", "upper", "resolution"),
}
READ_WHERE_TOLD = ("spelling", "step", "endings", "digits", "special", "format")  # off rows too, where they are there
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
_DAY = (
    r"\d{4}(?P<a>[-/.])\d{1,2}(?P=a)\d{1,2}|\d{1,2}(?P<b>[-/.])\d{1,2}(?P=b)\d{4}"
    r"|\d{2}(?P<c>[-.])\d{2}(?P=c)\d{2}|\d{1,2}/\d{1,2}/\d{2}"
)
_MOMENT = re.compile(rf"({_DAY})([T ]\d{{1,2}}:\d{{2}}.*)?")  # 1.2.3 is a version, and no date
_TOO_EARLY = np.datetime64("1800-01-01", "us")  # a whole number that says so is rather no date, but for the year 1
_TOO_LARGE = "dropped: its numbers are too large to tell apart, like an identifier's"
_RARE_SPECIAL = "fewer than {} {} have {}; declare them in special if they stand for something else"
_ONE_SIDED = "fewer than {} {} are on either side of its middle"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_BYTES = re.compile(r"\\x[0-9a-f]*")
_LEADING_ZERO = re.compile(r"0[0-9]")
_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,14})\.0")  # a code as programs write it beside blanks
_PLAIN = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_TIME = re.compile(r"([01][0-9]|2[0-3]):?[0-5][0-9](:?[0-5][0-9])?")
_POINT_ZERO = re.compile(r"[-+]?[0-9]+\.0+")
_PAIRS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))


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
    tally: Tally = field(default_factory=partial(Tally, 0))  # for the institution's own screen

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
    watch, disguises = Watch(person), Disguises(MOSTLY)
    following = Following([*drop, *([person] if person is not None else [])])
    facts, numbers = _facts(following.through(watch.over(parts)), person, kept, drop, disguises)
    proposals = [
        _undisguised(column, known, numbers.get(column), column in targets, disguises)
        for column, known in facts.items()
        if column != person
    ]
    columns = tuple(p.column for p in proposals if p.column is not None)
    if not columns:
        fix = f"Add rows: what fewer than {RARE} {_unit(person)} have is not proposed. Or drop fewer columns."
        raise SchemaError("E_SCHEMA_INVALID", "draft", "no column is left", fix)
    notes = tuple(note for p in proposals for note in p.notes)
    notes += tuple(Note(name, "", seen=seen) for name, seen in following.told([c.name for c in columns], targets))
    if person is not None and facts[person].nullable:
        notes += (Note(person, "rows without a person are left out of the table"),)
    proposed = Schema(name=_named(name), person=person, columns=columns, review=READ_OF_TABLE)
    return Draft(proposed, notes, watch.tally)


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
    unit: what is counted, in words. counts: of the first MAX_DISTINCT values; ``many`` if there were more. decimals, digits: how
    many need so many, and significant ones. lows, highs: numbers, the latter negative, positives: those above zero;
    first_years, last_years: those of moments. All but numbers and days that often stand for something else (``placeholders``).
    infinite: numbers. floats: whether they came as floating point. timed: moments that are within a day, an hour and a minute.
    absent: words that may say that there is no value; those of ``MISSING_WORDS`` are not among ``counts``, the others are.
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

    def without(self, words: frozenset[str]) -> _Facts:
        """Facts of the same column where such words, in small letters, are no values."""
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


def _facts(
    parts: Iterable[pd.DataFrame], person: str | None, named: Sequence[str], drop: Sequence[str], disguises: Disguises
) -> tuple[dict[str, _Facts], dict[str, _Facts]]:
    """Facts of each column, and of the numbers of those that have them in disguise."""
    total: dict[str, _Facts] = {}
    numbers: dict[str, _Facts] = {}
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
                read = disguises.numbers(name, part.iloc[:, j]) if name != person else None
                if read is not None:
                    known = numbers.get(name, _Facts())
                    numbers[name] = known + _facts_of(read, people, known.pairs, _unit(person))
    return total, numbers


def _people(values: pd.Series) -> _Hashes:
    """(rows,) a hash of whose each row is; rows that do not say it are all one person's."""
    numbers, distinct = pd.factorize(told_apart(values), use_na_sentinel=True)
    words = [*(identifier(value) or "" for value in distinct), ""]
    hashes: _Hashes = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    return hashes[numbers]


def _facts_of(values: pd.Series, people: _Hashes, counted: _Hashes, unit: str) -> _Facts:
    """Facts of one part's column, of what is not ``counted`` yet. All but the counting is done once per distinct value."""
    numbers, distinct = pd.factorize(told_apart(values), use_na_sentinel=True)
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
    base = _Facts(
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


def _with_numbers(facts: _Facts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> _Facts:
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


def _with_moments(facts: _Facts, words: list[str], word: npt.NDArray[np.int64], people: _Hashes) -> _Facts:
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


# Proposals


@dataclass(frozen=True)
class _Proposal:
    column: schemas.Column | None
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Found:
    """A column, or none; why, in words that hold nothing of the rows, and what was seen of them.

    taken: words, in small letters, that were taken for missing where they occur.
    """

    column: schemas.Column | None
    texts: tuple[str, ...] = ()
    seen: str = ""
    taken: frozenset[str] = AMONG_TEXTS

    def words(self, facts: _Facts) -> Counter[str]:
        """The words that were taken for missing, as they are written, the most common first."""
        taken = self.taken | MISSING_WORDS
        return Counter({w: n for w, n in facts.absent.most_common() if w.lower() in taken})

    def missing(self, facts: _Facts) -> tuple[str, ...] | None:
        """What the column declares to say missing; None where no word says so."""
        words = self.words(facts)
        rare = [w for w, count in words.items() if count < RARE]
        return declared([w for w in words if w not in rare], rare) or None


def _undisguised(name: str, facts: _Facts, numbers: _Facts | None, target: bool, disguises: Disguises) -> _Proposal:
    """As ``_propose``; a column of numbers in disguise as a column of numbers."""
    if numbers is not None:
        lost = facts.without(AMONG_NUMBERS).valid > numbers.valid
        found = _propose(name, replace(numbers, absent=facts.absent), target)
        if isinstance(found.column, Continuous) and (how := disguises.known[name]) is not None:
            column = replace(found.column, format=how.text)
            texts = (
                disguises.note(name),
                *(["some cells are not numbers; they will count as missing"] if lost else []),
            )
            return _Proposal(column, (*(Note(name, text) for text in texts), *found.notes))
    return _propose(name, facts, target)


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
    told = tuple(name for name in READ_WHERE_TOLD if getattr(column, name, None))
    marked = replace(column, target=target, review=(*READ[type(column)], *told), missing=found.missing(facts))
    notes = [Note(name, text) for text in texts] + _words_notes(marked, facts, found)
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
    if all(map(_BYTES.fullmatch, facts.counts)):
        return "dropped: bytes that are no text; write them as text or numbers"
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


def _words_notes(column: schemas.Column, facts: _Facts, found: _Found) -> list[Note]:
    """Which words were taken for missing, with counts on the screen alone; and which may be, and were not."""
    notes = []
    if words := found.words(facts):
        seen = ", ".join(f"{_quoted(w)} ({n} {facts.unit})" for w, n in words.items())
        text = "words of missing are taken for blanks; what is a value, declare as one and take out of missing"
        notes.append(Note(column.name, text, seen=f"taken for missing: {seen}"))
    kept = [c for c in getattr(column, "categories", ()) if str(c).lower() in PERHAPS]
    if kept:
        shown = ", ".join(map(_quoted, kept))
        notes.append(Note(column.name, f"kept as values: {shown}; what says that there is none, move to missing"))
    return notes


def _column(name: str, facts: _Facts) -> _Found:
    texts, numbers = facts.without(AMONG_TEXTS), facts.without(AMONG_NUMBERS)
    taken = AMONG_NUMBERS
    if _is_whole(numbers):  # codes, and a word beside them may be one
        numbers, taken = texts, AMONG_TEXTS
    if not numbers.valid or not texts.valid:
        return _Found(None, ("dropped: every cell is empty, or says that it is",))
    if numbers.moments >= MOSTLY * numbers.valid and numbers.distinct >= (FEW_DAYS if numbers.numbers else 1):
        return replace(_moment_column(name, numbers), taken=taken)
    if numbers.numbers >= MOSTLY * numbers.valid and not _are_names(numbers):
        return replace(_number_column(name, numbers), taken=taken)
    return _boolean_column(name, texts) or _text_column(name, texts)


def _boolean_column(name: str, facts: _Facts) -> _Found | None:
    """True and false as most write them; None for other words."""
    words = {w.lower() for w in facts.counts}
    pair = next((p for p in _PAIRS if words == {*p} or (p == _PAIRS[0] and words and words <= {*p})), None)
    if pair is None or (pair != _PAIRS[0] and len({w.lower() for w in facts.shared}) < 2):
        return None
    common = facts.counts.most_common(1)[0][0]
    style = str.upper if common.isupper() else str.title if common.istitle() else str.lower
    spelling = (style(pair[0]), style(pair[1]))
    return _Found(
        Boolean(name=name, nullable=facts.nullable, spelling=None if spelling == ("False", "True") else spelling)
    )


def _are_names(facts: _Facts) -> bool:
    """Whether numbers are but names: few and beside words, with leading zeros like area codes, or one number in two spellings."""
    beside_words = facts.numbers < facts.valid and facts.distinct <= FEW_CODES
    single = facts.distinct == 1 and not _is_whole(facts)
    padded = sum(count for word, count in facts.counts.items() if _LEADING_ZERO.match(word))
    return beside_words or single or padded >= max(1, min(RARE, facts.valid / 20)) or _are_spelt(facts)


def _are_spelt(facts: _Facts) -> bool:
    """Whether the spelling tells more than the number: 401 beside 401.0, 1.1 beside 1.10; +1; or few that all end in .0."""
    shared = [w for w in facts.shared if not w.startswith("-0")]
    if facts.distinct > MANY_WORDS or not shared:
        return False
    numbers = [Decimal(w) for w in shared if _is_number(w)]
    signed = any(w.startswith("+") for w in shared)
    few = facts.distinct <= FEW_CODES and all(_FLOAT.fullmatch(w) for w in facts.counts)
    return len(set(numbers)) < len(numbers) or signed or few or _are_ragged(shared)


def _are_ragged(words: list[str]) -> bool:
    """Whether some words end in noughts that others lack: 250.00 beside 401.9, as no program writes numbers."""
    plain = [w for w in words if _PLAIN.fullmatch(w)]
    decimals = {w: len(w.partition(".")[2]) for w in plain}
    padded = [d for w, d in decimals.items() if d and w.endswith("0")]
    told = {*decimals.values()}
    return len(told) > 1 and (any(d > 1 for d in padded) or (bool(padded) and 0 in told))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


# Numbers


def _number_column(name: str, facts: _Facts) -> _Found:
    if facts.distinct == 1 or _are_codes(facts):
        return _code_column(name, facts)
    found, (lowest, highest) = _standing_apart(facts)
    if lowest is None or highest is None or lowest >= highest:
        large = max(abs(facts.lowest), abs(facts.highest)) > 2.0**50
        return _Found(None, (_TOO_LARGE if large else f"dropped: {_ONE_SIDED.format(RARE, facts.unit)}",))
    column, texts = _numbers(name, facts, found, lowest, highest)
    if column is None:
        return _Found(None, texts)
    return replace(_with_points(column, facts, (*texts, *_unreadable(facts))), seen=_rare_numbers(column, facts))


def _numbers(
    name: str, facts: _Facts, special: tuple[float, ...], lowest: float, highest: float
) -> tuple[Continuous | None, tuple[str, ...]]:
    """The column between two persons' numbers, and what there is to say of it."""
    nullable = facts.nullable or facts.numbers < facts.valid or facts.infinite > 0
    texts = [f"bounds are round numbers beyond what all but fewer than {RARE} {facts.unit} have"]
    if special:
        texts.append("special values stand for something else than a number, as far as can be told from where they lie")
    needed, fewest = _needed(facts), facts.positives.last
    digits = significant(dict(enumerate(facts.digits)), RARE)
    zero = (0.0,) if facts.numbered.get(0.0, 0) >= RARE else ()
    if fewest is not None and lowest >= 0 and (spans(fewest, highest, digits, needed) or needed == FINEST):
        lower, upper = decades(fewest, highest)
        texts.append(f"numbers over many powers of ten: {digits} significant digits are kept")
        special = tuple(sorted({*special, *zero}))
        return Continuous(
            name=name, nullable=nullable, lower=lower, upper=upper, digits=digits, special=special
        ), tuple(texts)
    kept = min(needed, max(MAX_DECIMALS, MAX_DECIMALS - math.floor(math.log10(max(abs(lowest), abs(highest))))))
    decimals = next((d for d in range(kept, -1, -1) if _is_grid(lowest, highest, d)), None)
    if decimals is None:
        return None, (_TOO_LARGE,)
    if highest - lowest < 10.0 ** (3 - FINEST):
        return None, ("dropped: its numbers are too small to tell apart",)
    if decimals < needed:
        texts.append(f"digits beyond {decimals} decimals are rounded off")
    if may_part_thousands(facts.counts, decimals):
        texts.append('each point has three digits behind it: if it parts thousands, format = "1.234,5" says so')
    column = Continuous(name=name, lower=0, upper=1, nullable=nullable, special=special)
    shape = lattice({x: n for x, n in facts.numbered.items() if x not in special}, decimals, RARE)
    return _on_lattice(column, shape, wide_bounds(lowest, highest, decimals), decimals, facts, texts)


def _on_lattice(
    column: Continuous, shape: Lattice, bounds: tuple[float, float], decimals: int, facts: _Facts, texts: list[str]
) -> tuple[Continuous, tuple[str, ...]]:
    """The column with its bounds, on the lattice that its numbers share, if any."""
    lower, upper = bounds
    if decimals == 0 and (facts.floats or _written_with_point(facts)):  # 12.0 is not written 12
        decimals, shape = 1, shape if shape.step else Lattice(1.0)
    if shape.step is None:
        return replace(column, lower=lower, upper=upper, decimals=decimals), tuple(texts)
    lower, upper = shape.bounds or within(shape, lower, upper, decimals)
    if not lower < upper:
        return replace(column, lower=bounds[0], upper=bounds[1], decimals=decimals), tuple(texts)
    if shape.name:
        texts.append(f"they look like {shape.name}")
    if shape.step != 1.0 or shape.endings:
        texts.append("all but a few lie on the steps; others are moved to the nearest")
    single = shape.endings if len(shape.endings) > 1 else ()
    return replace(column, lower=lower, upper=upper, decimals=decimals, step=shape.step, endings=single), tuple(texts)


def _rare_numbers(column: Continuous, facts: _Facts) -> str:
    """Which numbers beyond the bounds often stand for something else, and few have: for the institution's own screen."""
    beyond = [x for x, n in facts.numbered.items() if n < RARE and not column.lower <= x <= column.upper]
    shown = ", ".join(f"{x:.15g}" for x in sorted(np.array(beyond)[may_stand(np.array(beyond))].tolist())[:5])
    return _RARE_SPECIAL.format(RARE, facts.unit, shown) if shown else ""


def _written_with_point(facts: _Facts) -> bool:
    """Whether nearly all whole numbers are written with a point."""
    return sum(n for w, n in facts.counts.items() if _POINT_ZERO.fullmatch(w)) >= MOSTLY * sum(facts.counts.values())


def _standing_apart(facts: _Facts) -> tuple[tuple[float, ...], tuple[float | None, float | None]]:
    """Numbers that stand for something else, and the ends of the others."""
    low, high = facts.lows.last, None if facts.highs.last is None else -facts.highs.last
    if low is None or high is None or low > high:
        shared = sorted(x for x, n in facts.numbered.items() if n >= RARE)
        return (), ((shared[0], shared[-1]) if len(shared) > 1 else (None, None))
    candidates = np.array(list(facts.numbered), np.float64)
    may = {x: facts.numbered[x] for x in candidates[may_stand(candidates)].tolist() if facts.numbered[x] >= RARE}
    apart = stand_apart(may, low, high, RARE)
    others = [low, high, *(x for x in may if x not in apart)]
    return apart, (min(others), max(others))


def _needed(facts: _Facts) -> int:
    """Decimals that all but a few need."""
    return next(d for d in range(FINEST + 1) if sum(facts.decimals[d + 1 :]) < RARE)


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
    """Few whole numbers that are not negative and below 1000, beside some that stand for something else."""
    if not _is_whole(facts):
        return False
    plain = np.array([int(word) for word in facts.counts], np.float64)
    apart, _ = _standing_apart(facts)
    plain = plain[~np.isin(plain, apart)]
    return bool(plain.size) and plain.min() >= 0 and plain.max() < 1000


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
    points = {x if column.digits else round(x, column.decimals) for x in shared if column.lower <= x <= column.upper}
    points = {x for x in points if column.lower <= x <= column.upper and not _has_a_cell(column, x)}
    points = {x for x in points if x not in column.special and holds(column.axis, x)}
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
    index = int(column.index_of(np.array([value]))[0])
    cell = int(np.searchsorted(column.cuts, index, side="right")) - 1
    return cell + 1 < len(column.cuts) and int(column.cuts[cell + 1] - column.cuts[cell]) == 1


def _unreadable(facts: _Facts) -> list[str]:
    texts = [] if facts.numbers == facts.valid else ["some cells are not numbers; they will count as missing"]
    return [*texts, *(["some numbers are infinite; they will count as missing"] if facts.infinite else [])]


# Moments


def _moment_column(name: str, facts: _Facts) -> _Found:
    first, last = facts.first_years.last, facts.last_years.last
    if first is None or last is None:
        return _Found(None, (f"dropped: fewer than {RARE} {facts.unit} have a date that can be read",))
    written = style(facts.counts, RARE)
    special, (low, high) = _special_days(facts, written.pattern, first, max(-last, first))
    lower, upper = (min(max(int(year), 1), 9999) for year in wide_bounds(low, high, 0))
    resolution = _resolution(facts.timed, written.pattern)
    column = Datetime(
        name=name,
        nullable=facts.nullable or facts.moments < facts.valid,
        lower=datetime(lower, 1, 1),
        upper=datetime(upper, 12, 31) if resolution == "day" else datetime(upper, 12, 31, 23, 59, 59),
        resolution=resolution,
        special=special,
        format=written.pattern,
    )
    texts = [f"bounds are round years beyond what all but fewer than {RARE} {facts.unit} have", *written.notes]
    if special:
        texts.append("special days stand for something else than a day, as far as can be told")
    return _Found(column, tuple(texts), _rare_days(facts))


def _resolution(timed: tuple[int, int, int], pattern: str) -> schemas.Resolution:
    """The finest that all but a few need, as far as it is written."""
    needed: list[schemas.Resolution] = ["day", "hour", "minute", "second"]
    place = sum(count >= RARE for count in timed)
    return needed[min(place, needed.index(finest(pattern)))] if pattern else needed[place]


def _special_days(
    facts: _Facts, pattern: str, first: float, last: float
) -> tuple[tuple[datetime, ...], tuple[float, float]]:
    """Days that stand for something else, and the first and last year of the others.

    They lie outside the others' years, or more have one than any other day.
    """
    days, others = _placeholders(facts, pattern)
    most = max(others.values(), default=0)
    shared = {day: count for day, count in days.items() if count >= RARE}
    special = sorted(day for day, count in shared.items() if not first <= day.year <= last or count > 3 * most)
    years = [first, last, *(day.year for day in shared if day not in special)]
    return tuple(special), (min(years), max(years))


def _placeholders(facts: _Facts, pattern: str) -> tuple[Counter[datetime], Counter[str]]:
    """How many have each placeholder day, and each other text."""
    words = list(facts.counts)
    read = moments_of(pd.Series(words, dtype="str"), pattern).to_numpy().astype("datetime64[s]").tolist()
    days, others = Counter[datetime](), Counter[str]()
    for word, moment in zip(words, read, strict=True):
        if moment is not None and (day := placeholder_of(moment)):
            days[day] += facts.counts[word]
        else:
            others[word] += facts.counts[word]
    return days, others


def _rare_days(facts: _Facts) -> str:
    """Which placeholder days few have: for the institution's own screen."""
    rare = sorted(w for w, count in facts.counts.items() if count < RARE and placeholder_day(w))
    shown = ", ".join(rare[:5])
    return _RARE_SPECIAL.format(RARE, facts.unit, shown) if rare else ""


# Text


def _text_column(name: str, facts: _Facts) -> _Found:
    """Values that are no single person's as categories, the most common ones where they are many; or nothing."""
    if sum(n for w, n in facts.counts.items() if len(w) > LONG_TEXT) > facts.valid / 10:
        return _Found(None, ("dropped: free text",))
    numbers = sum(map(looks_like_a_number, facts.counts))
    if numbers > facts.distinct / 2 and facts.distinct > MANY_WORDS:
        text = "dropped: most of its values are numbers, but others are not, or they are written in several ways"
        others = [w for w in facts.counts if not looks_like_a_number(w)][:5]
        seen = f"no numbers are {', '.join(map(_quoted, others))}" if others else ""
        return _Found(None, (f"{text}; write all of them in one",), seen)
    if facts.many or facts.distinct > max(20, facts.valid / 2):
        return _Found(None, ("dropped: nearly every row has a value of its own, like an identifier's or free text",))
    if (
        facts.distinct > MANY_WORDS
        and sum(n for w, n in facts.counts.items() if _TIME.fullmatch(w)) >= MOSTLY * facts.valid
    ):
        return _Found(
            None, ("dropped: times of day as text; write them as whole numbers, 930 for 09:30, or as minutes",)
        )
    words = facts.shared if len(facts.shared) <= MANY_WORDS else facts.shared[:COMMON_WORDS]
    if sum(facts.counts[w] for w in words) < 0.6 * facts.valid:
        return _Found(None, ("dropped: most of its values are not common",), _seen(facts))
    text = f"values of {RARE} {facts.unit} or more"
    if len(words) < len(facts.shared):
        text = f"the {COMMON_WORDS} most common values"
    return _categorical(name, facts, sorted(words), (text,))


def _categorical(name: str, facts: _Facts, words: list[str], texts: tuple[str, ...]) -> _Found:
    """Categories as they come, and another one for values that are none of them."""
    allowed = [w for w in words if not trouble_of_value(w) and len(w) <= LONG_TEXT]
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
    """What does not fit in one column. Counts of private rows: for the institution's own screen.

    written: the format of numbers that the unreadable cells look written in.
    told: of each kind of ``misfits``, how many cells, and the first one's row, from 1.
    """

    column: str
    missing: int = 0
    unreadable: int = 0
    undeclared: int = 0
    beyond: int = 0
    written: str = ""
    told: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fix: str = ""

    def __str__(self) -> str:
        """What does not fit, in words."""
        counts = {
            "empty": self.missing,
            "not readable": self.unreadable,
            "of undeclared categories": self.undeclared,
            "beyond the bounds": self.beyond,
        }
        told = [f"{count} cells {what}" for what, count in counts.items() if count]
        kinds = (f"{count} cells {kind} (the first in row {row})" for kind, (count, row) in self.told.items())
        return ", ".join([*told, *kinds])

    def __add__(self, other: Misfit) -> Misfit:
        return Misfit(
            self.column,
            self.missing + other.missing,
            self.unreadable + other.unreadable,
            self.undeclared + other.undeclared,
            self.beyond + other.beyond,
            self.written or other.written,
            {kind: _added(self.told.get(kind), other.told.get(kind)) for kind in (*self.told, *other.told)},
        )

    def after(self, rows: int) -> Misfit:
        """The same of rows that come after some others."""
        return replace(self, told={kind: (count, first + rows) for kind, (count, first) in self.told.items()})


def _added(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int]:
    """Cells together, and the first row."""
    pairs = [pair for pair in (one, other) if pair is not None]
    return sum(count for count, _ in pairs), pairs[0][1]


@dataclass(frozen=True)
class Fit:
    """How rows fit a schema. breaking: for each of the schema's constraints the rows that break it, whatever else is wrong with them.

    words: by column the words that count as missing there, and in how many cells.
    nobodys: rows that do not say whose they are. tally: whose the fitting rows are. absent: by column the rows without a value.
    """

    rows: int
    left_out: int
    misfits: tuple[Misfit, ...]
    breaking: tuple[int, ...] = ()
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nobodys: int = 0
    tally: Tally | None = None
    absent: tuple[int, ...] = ()

    @property
    def none_fits(self) -> bool:
        """Whether the table says nothing at all, in a study of this schema."""
        return self.left_out == self.rows


class Fitting:
    """Sees how rows fit a schema while a table's parts go by; holds counts alone."""

    def __init__(self, schema: Schema) -> None:
        self._schema, self._heads = schema, Heads()
        nothing = tuple(Misfit(name) for name in schema.names), (0,) * len(schema.constraints)
        self._total = Fit(0, 0, *nothing, absent=(0,) * len(schema.columns))

    def over(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same parts; each is looked at when the next one is asked for."""
        for part in parts:
            yield part
            self._total = _joined(self._total, _fit_of(self._schema, self._heads, part))

    @property
    def found(self) -> Fit:
        """How the rows that went by fit, and what is wrong with the others, column by column."""
        total, schema = self._total, self._schema
        found = [replace(m, fix=_fix(schema.columns[j], m)) for j, m in enumerate(total.misfits)]
        tally = Tally(total.rows, total.left_out, None if schema.person is None else self._heads.sizes)
        return replace(total, misfits=tuple(m for m in found if m.fix), tally=tally)


def fit(parts: Iterable[pd.DataFrame], schema: Schema) -> Fit:
    """How many rows of the table fit the schema, and what is wrong with the others, column by column."""
    fitting = Fitting(schema)
    for _ in fitting.over(parts):
        pass
    return fitting.found


def _joined(a: Fit, b: Fit) -> Fit:
    misfits = tuple(x + y.after(a.rows) for x, y in zip(a.misfits, b.misfits, strict=True))
    breaking = tuple(x + y for x, y in zip(a.breaking, b.breaking, strict=True))
    words = {
        name: dict(Counter(a.words.get(name, {})) + Counter(b.words.get(name, {}))) for name in {**a.words, **b.words}
    }
    absent = tuple(x + y for x, y in zip(a.absent, b.absent, strict=True))
    left_out, nobodys = a.left_out + b.left_out, a.nobodys + b.nobodys
    return Fit(a.rows + b.rows, left_out, misfits, breaking, words, nobodys, absent=absent)


def _fit_of(schema: Schema, heads: Heads, part: pd.DataFrame) -> Fit:
    index, misfits = indices(part, schema), []
    whose = None if schema.person is None else identifiers_of(part[schema.person])
    broken = [broken_by(rules, index) for rules in schema.rules.each]
    nobodys = np.zeros(len(part), bool) if whose is None else ~whose.known
    out = reduce(np.logical_or, broken, nobodys.copy())
    for j, column in enumerate(schema.columns):
        invalid = index[:, j] == INVALID
        out |= invalid & (not column.nullable)
        misfits.append(_misfit(column, part[column.name], invalid))
    if whose is not None:
        heads.add(whose.at(~out))
    breaking = tuple(int(rows.sum()) for rows in broken)
    words = {c.name: seen for c in schema.columns if (seen := words_seen(c, part[c.name]))}
    absent = tuple(int(n) for n in (index == INVALID).sum(axis=0))
    return Fit(len(part), int(out.sum()), tuple(misfits), breaking, words, int(nobodys.sum()), absent=absent)


def _misfit(column: schemas.Column, values: pd.Series, invalid: npt.NDArray[np.bool_]) -> Misfit:
    empty, found = are_missing(column, values), found_in(column, values)
    infinite = found.get(INFINITE, np.zeros(len(values), bool))
    wrong = int((invalid & ~empty & ~infinite).sum())
    named = hasattr(column, "categories")
    return Misfit(
        column.name,
        missing=0 if column.nullable else int((invalid & empty).sum()),
        unreadable=0 if named else wrong,
        undeclared=wrong if named else 0,
        beyond=int(found[BEYOND].sum()) if BEYOND in found else 0,
        written=_look_written(values[invalid & ~empty]) if isinstance(column, Continuous) and wrong else "",
        told={kind: (int(at.sum()), int(at.argmax()) + 1) for kind, at in found.items() if at.any() and kind != BEYOND},
    )


def _look_written(values: pd.Series) -> str:
    """The format that cells look written in which are no numbers as they are; empty for none."""
    texts = [text for text in values.dropna().unique()[:LOOKED_AT] if isinstance(text, str)]
    how = told_by(texts, MOSTLY) if texts else None
    return "" if how is None else how.text


def _fix(column: schemas.Column, found: Misfit) -> str:
    """The next step for the first problem of the column; empty if there is none."""
    if found.missing:
        return "Set nullable = true to keep the rows with an empty cell."
    if found.written:
        text = _quoted(found.written)
        return f"They look like numbers in disguise: declare format = {text}, or {text} in an institution's mapping."
    if found.unreadable:
        return f"Write the cells as {column.kind} values; as they are, they count as missing."
    if found.undeclared and ALIKE not in found.told:
        return 'Declare the categories, or other = "__OTHER__"; as they are, they count as missing.'
    kind = BEYOND if found.beyond else next((kind for kind in FIXES if kind in found.told), "")
    return FIXES.get(kind, "")
