"""Before step 1: a first schema, proposed from data, and how a table fits a schema.

A schema must not be read off private rows: bounds and categories as they occur can betray persons
(SECURITY.md P10). But nobody writes one from nothing. ``draft`` proposes, for a person to review: it widens
bounds to round numbers, lists categories by name and not by number, drops what looks like an identifier or
free text, and says of what it read off the data why it needs a look. Only what a person lets stand is a
schema.

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
from cohortium.encoding import INVALID, MISSING_WORDS, category_key, indices, told_apart
from cohortium.errors import SchemaError
from cohortium.rules import broken_by
from cohortium.schema import FORMULA_STARTS, Boolean, Categorical, Continuous, Datetime, Schema

OTHER = "__OTHER__"
FEW_CODES = 12  # whole numbers of so few values are codes
MANY_WORDS = 64  # text of more values is shortened to its most common ones, or dropped
COMMON_WORDS = 30
RARE_ROWS = 10
LONG_TEXT = 100
MAX_DISTINCT = 20_000  # distinct values counted per column
MAX_SAMPLE = 100_000  # numbers kept per column, for quantiles
MAX_DECIMALS = 6
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
    """What a person must review. ``column`` is in the schema, or was dropped from it."""

    column: str
    text: str
    dropped: bool = False


@dataclass(frozen=True)
class Draft:
    schema: Schema
    notes: tuple[Note, ...]

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
    facts = _facts(parts, kept, drop)
    proposals = [_propose(column, known, column in targets) for column, known in facts.items() if column != person]
    columns = tuple(p.column for p in proposals if p.column is not None)
    if not columns:
        raise SchemaError("E_SCHEMA_INVALID", "draft", "no column is left", "Drop fewer columns, or add rows.")
    notes = tuple(note for p in proposals for note in p.notes)
    if person is not None and facts[person].nullable:
        notes += (Note(person, "rows without a person all count as one person's"),)
    return Draft(Schema(name=name, person=person, columns=columns), notes)


def check_names(wanted: Iterable[str], names: Sequence[str]) -> None:
    """SchemaError E_SCHEMA_MISSING for a wanted column that the table lacks."""
    for name in wanted:
        if name not in names:
            what = f"there is no column {name!r} in the table"
            raise SchemaError("E_SCHEMA_MISSING", "draft", what, "Name a column as the table's header does.")


# What is known of a column


@dataclass(frozen=True)
class _Facts:
    """What was seen of one column; facts of parts add up.

    counts: rows per distinct value, of the first MAX_DISTINCT values; ``many`` if there were more.
    sample: some of the numbers, for quantiles; of a long table, more from its end.
    """

    rows: int = 0
    valid: int = 0
    numbers: int = 0
    moments: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    many: bool = False
    lowest: float = math.inf
    highest: float = -math.inf
    decimals: int = 0
    earliest: pd.Timestamp | None = None
    latest: pd.Timestamp | None = None
    year_first: bool = True
    days: bool = True
    sample: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def nullable(self) -> bool:
        return self.valid < self.rows

    def __add__(self, other: _Facts) -> _Facts:
        counts, many = _merged(self.counts, other.counts)
        return _Facts(
            rows=self.rows + other.rows,
            valid=self.valid + other.valid,
            numbers=self.numbers + other.numbers,
            moments=self.moments + other.moments,
            counts=counts,
            many=self.many or other.many or many,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
            decimals=max(self.decimals, other.decimals),
            earliest=min((t for t in (self.earliest, other.earliest) if t is not None), default=None),
            latest=max((t for t in (self.latest, other.latest) if t is not None), default=None),
            year_first=self.year_first and other.year_first,
            days=self.days and other.days,
            sample=_thinned(np.concatenate([self.sample, other.sample])),
        )


def _merged(counts: Counter[str], more: Counter[str]) -> tuple[Counter[str], bool]:
    """Both counts, and whether values had to be left out."""
    total = counts + more
    if len(total) <= MAX_DISTINCT:
        return total, False
    return Counter(dict(list(total.items())[:MAX_DISTINCT])), True


def _thinned(sample: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    while len(sample) > MAX_SAMPLE:
        sample = sample[::2]
    return sample


def _facts(parts: Iterable[pd.DataFrame], named: Sequence[str], drop: Sequence[str]) -> dict[str, _Facts]:
    total: dict[str, _Facts] = {}
    for part in parts:
        names = [str(name) for name in part.columns]
        check_names([*named, *drop], names)
        if len(set(names)) < len(names):
            raise SchemaError(
                "E_SCHEMA_DUP", "draft", "two columns have the same name", "Rename or remove one of them."
            )
        for j, name in enumerate(names):
            if name not in drop:
                total[name] = total.get(name, _Facts()) + _facts_of(part.iloc[:, j])
    return total


def _facts_of(values: pd.Series) -> _Facts:
    """Facts of one part's column. All but the counting is done once per distinct value."""
    counts: Counter[str] = Counter()
    for value, rows in told_apart(values).value_counts(dropna=True, sort=False).items():
        if rows:  # a pandas category may have none
            counts[category_key(value)] += int(rows)
    missing = [word for word in counts if word.lower() in MISSING_WORDS]
    for word in missing:
        del counts[word]
    words, rows_of = list(counts), np.array(list(counts.values()), np.int64)
    common, many = _merged(counts, Counter())
    base = _Facts(rows=len(values), valid=int(rows_of.sum()), counts=common, many=many)
    return _with_moments(_with_numbers(base, words, rows_of), words, rows_of)


def _with_numbers(facts: _Facts, words: list[str], rows: npt.NDArray[np.int64]) -> _Facts:
    read = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    finite = np.isfinite(read)
    if not finite.any():
        return facts
    numbers = read[finite]
    return replace(
        facts,
        numbers=int(rows[~np.isnan(read)].sum()),
        lowest=float(numbers.min()),
        highest=float(numbers.max()),
        decimals=_decimals(numbers),
        sample=_thinned(np.repeat(numbers, rows[finite])),
    )


def _decimals(numbers: npt.NDArray[np.float64]) -> int:
    """The fewest decimals that tell all the numbers, at most MAX_DECIMALS."""
    for decimals in range(MAX_DECIMALS):
        with np.errstate(over="ignore"):  # numbers near the largest there are
            rounded = np.round(numbers, decimals)
        if np.allclose(rounded, numbers, rtol=1e-12, atol=10.0 ** -(MAX_DECIMALS + 2)):
            return decimals
    return MAX_DECIMALS


def _with_moments(facts: _Facts, words: list[str], rows: npt.NDArray[np.int64]) -> _Facts:
    like = [i for i, word in enumerate(words) if _MOMENT.fullmatch(word)]
    texts = pd.Series([words[i] for i in like], dtype="str")
    read = pd.to_datetime(texts, errors="coerce", utc=True, format="mixed").dt.tz_localize(None)
    known = read.dropna()
    if known.empty:
        return facts
    return replace(
        facts,
        moments=int(rows[like][read.notna().to_numpy()].sum()),
        earliest=known.min(),
        latest=known.max(),
        year_first=bool(texts.str.match(_YEAR_FIRST.pattern).all()),
        days=bool((known == known.dt.normalize()).all()),
    )


# Proposals


@dataclass(frozen=True)
class _Proposal:
    column: schemas.Column | None
    notes: tuple[Note, ...]


def _propose(name: str, facts: _Facts, target: bool) -> _Proposal:
    """A column for what is known, or none, with notes on why and what to review."""
    reason = _reason_to_drop(name, facts, target)
    if reason:
        return _Proposal(None, (Note(name, reason, dropped=True),))
    column, texts = _column(name, facts)
    if column is not None and column.size < 2:
        column, texts = None, ["dropped: no category but one is left"]
    if column is None:
        return _Proposal(None, tuple(Note(name, text, dropped=True) for text in texts))
    column = replace(column, target=target)
    if column.nullable:
        texts = [*texts, "nullable as some cells were empty or not readable; state what the public knows"]
    return _Proposal(column, tuple(Note(name, text) for text in texts))


def _reason_to_drop(name: str, facts: _Facts, target: bool) -> str:
    """Why nothing may be proposed for the column; empty where something can."""
    if not name or len(name) > 200:
        return "dropped: a column needs a name of 1 to 200 characters"
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
    counted = facts.numbers == facts.valid == facts.distinct and facts.decimals == 0
    if counted and facts.valid > 20 and facts.highest - facts.lowest == facts.distinct - 1:
        return "dropped: it numbers the rows"
    if not (named and wide):
        return ""
    hint = "" if facts.distinct == facts.valid else "; if it tells whose row it is, draft again with it as the person"
    return f"dropped: its name and many values look like an identifier{hint}"


def _column(name: str, facts: _Facts) -> tuple[schemas.Column | None, list[str]]:
    if facts.numbers >= MOSTLY * facts.valid and not _are_names(facts):
        return _number_column(name, facts)
    if facts.moments >= MOSTLY * facts.valid:
        return _moment_column(name, facts)
    if {w.lower() for w in facts.counts} == {"true", "false"}:
        return Boolean(name=name, nullable=facts.nullable), []
    return _text_column(name, facts)


def _are_names(facts: _Facts) -> bool:
    """Whether numbers are but names: few and beside words, or with leading zeros like area codes."""
    beside_words = facts.numbers < facts.valid and facts.distinct <= FEW_CODES
    single = facts.distinct == 1 and not _is_whole(facts)
    return beside_words or single or any(_LEADING_ZERO.match(word) for word in facts.counts)


# Numbers


def _number_column(name: str, facts: _Facts) -> tuple[schemas.Column | None, list[str]]:
    if facts.distinct == 1 or _are_codes(facts):
        codes = tuple(sorted(int(word) for word in facts.counts))
        texts = [*_rare(facts), "categories as they occur; if they have an order, make it ordinal"]
        return Categorical(name=name, nullable=facts.nullable, categories=codes), texts
    if facts.lowest == facts.highest:
        return None, ["dropped: only one of its numbers is finite"]
    decimals = _affordable(facts)
    if decimals < 0:
        return None, ["dropped: its numbers are too large to tell apart, like an identifier's"]
    (lower, upper), texts = _bounds(facts, decimals)
    column = Continuous(
        name=name,
        nullable=facts.nullable or facts.numbers < facts.valid,
        lower=lower,
        upper=upper,
        decimals=decimals,
    )
    column, more = _with_points(column, facts)
    return column, [*texts, *more, *_unreadable(facts)]


def _bounds(facts: _Facts, decimals: int) -> tuple[tuple[float, float], list[str]]:
    """Round bounds; a value that RARE_ROWS rows share is a bound as it is, and a lone outlier is none."""
    lowest, highest = _without_outliers(facts)
    lower, upper = nice_bounds(lowest, highest, decimals)
    shared = _shared_numbers(facts, RARE_ROWS)
    lower, upper = lowest if lowest in shared else lower, highest if highest in shared else upper
    texts = [f"bounds {lower:.12g} and {upper:.12g} are the data's own, widened where few rows reach them"]
    if lower > facts.lowest or upper < facts.highest:
        texts.append("a few values lie far beyond the others and would be clipped to the bounds")
    return (lower, upper), texts


def _without_outliers(facts: _Facts) -> tuple[float, float]:
    """The extremes, or the 0.1 % quantiles where the extremes are ten times as far from the median."""
    low, median, high = np.quantile(facts.sample, [0.001, 0.5, 0.999])
    lowest = low if median - facts.lowest > 10 * (median - low) > 0 else facts.lowest
    highest = high if facts.highest - median > 10 * (high - median) > 0 else facts.highest
    return float(lowest), float(highest)


def _shared_numbers(facts: _Facts, rows: float) -> set[float]:
    """Numbers that at least so many rows have."""
    words = [w for w, count in facts.counts.items() if count >= rows]
    numbers = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return {float(x) for x in numbers[np.isfinite(numbers)]}


def _is_whole(facts: _Facts) -> bool:
    return facts.distinct <= FEW_CODES and all(_WHOLE.fullmatch(word) for word in facts.counts)


def _are_codes(facts: _Facts) -> bool:
    return _is_whole(facts) and facts.lowest >= 0 and facts.highest < 1000


def _affordable(facts: _Facts) -> int:
    """Decimals the grid can hold, -1 if none."""
    largest = 2 * max(abs(facts.lowest), abs(facts.highest))
    return next((d for d in range(facts.decimals, -1, -1) if largest * 10**d <= 2**50), -1)


def nice_bounds(lowest: float, highest: float, decimals: int) -> tuple[float, float]:
    """Bounds outwards to multiples of 1, 2 or 5 times a power of ten, a twentieth of the range or more."""
    raw = max((highest - lowest) / 20, 10.0**-decimals)
    power = math.floor(math.log10(raw))
    factor = next(f for f in (1, 2, 5, 10) if f * 10.0**power >= raw * (1 - 1e-9))
    digits = max(0, -power)
    step = factor * 10.0**power
    lower = round(math.floor(lowest / step + 1e-9) * step, digits)
    upper = round(math.ceil(highest / step - 1e-9) * step, digits)
    return lower + 0.0, max(upper, round(lower + step, digits)) + 0.0  # no negative zero


def _with_points(column: Continuous, facts: _Facts) -> tuple[Continuous, list[str]]:
    """The column with a cell for each value that many rows share, where its own are too wide to tell such a value."""
    few = facts.distinct <= FEW_CODES
    shared = _shared_numbers(facts, 1 if few else 0.1 * facts.valid)
    points = {round(x, column.decimals) for x in shared if column.lower <= x <= column.upper}
    points = {x for x in points if column.lower <= x <= column.upper and not _has_a_cell(column, x)}
    if not points:
        return column, []
    text = "points are values that many rows share; let stand only what the public knows"
    return replace(column, points=tuple(sorted(points)), bins=1 if few else None), [text]


def _has_a_cell(column: Continuous, value: float) -> bool:
    index = round((value - column.lower) * 10**column.decimals)
    cell = int(np.searchsorted(column.cuts, index, side="right")) - 1
    return int(column.cuts[cell + 1] - column.cuts[cell]) == 1


def _unreadable(facts: _Facts) -> list[str]:
    if facts.numbers == facts.valid:
        return []
    return ["some cells are not numbers; they will count as missing"]


# Moments


def _moment_column(name: str, facts: _Facts) -> tuple[schemas.Column | None, list[str]]:
    if facts.earliest is None or facts.latest is None:
        return None, ["dropped: none of its dates can be read"]
    column = Datetime(
        name=name,
        nullable=facts.nullable or facts.moments < facts.valid,
        lower=datetime(facts.earliest.year, 1, 1),
        upper=datetime(facts.latest.year, 12, 31) if facts.days else datetime(facts.latest.year, 12, 31, 23, 59, 59),
        resolution="day" if facts.days else "second",
    )
    texts = ["bounds are the data's own, widened to whole years"]
    if not facts.year_first:
        texts.append("day and month may be mixed up: write dates as year-month-day")
    return column, texts


# Text


def _text_column(name: str, facts: _Facts) -> tuple[schemas.Column | None, list[str]]:
    """All values as categories where they are few, else the most common ones, else nothing."""
    if sum(len(w) > LONG_TEXT for w in facts.counts) > facts.distinct / 10:
        return None, ["dropped: free text"]
    if facts.many or facts.distinct > max(20, facts.valid / 2):
        return None, ["dropped: nearly every row has a value of its own, like an identifier's or free text"]
    words, texts = list(facts.counts), _rare(facts)
    if len(words) > MANY_WORDS:
        words = [w for w, _ in facts.counts.most_common(COMMON_WORDS)]
        if sum(facts.counts[w] for w in words) < 0.6 * facts.valid:
            return None, [f"dropped: {facts.distinct} different values, of which none are common"]
        texts = [f"the {COMMON_WORDS} most common of {facts.distinct} values; the others become {OTHER}"]
    return _categorical(name, facts, words, texts)


def _categorical(name: str, facts: _Facts, words: list[str], texts: list[str]) -> tuple[Categorical, list[str]]:
    allowed = sorted(w for w in words if not w.startswith(FORMULA_STARTS) and len(w) <= LONG_TEXT)
    if len(allowed) < len(words):
        texts = [*texts, f"values that a spreadsheet would run, or that are long, become {OTHER}"]
    other = OTHER if len(allowed) < facts.distinct else None
    if other is not None and other not in allowed:
        allowed.append(other)
    return Categorical(name=name, nullable=facts.nullable, categories=tuple(allowed), other=other), texts


def _rare(facts: _Facts) -> list[str]:
    rare = sorted(w for w, rows in facts.counts.items() if rows < RARE_ROWS)
    if not rare:
        return []
    shown = ", ".join(json.dumps(w, ensure_ascii=False) for w in rare[:5]) + (", ..." if len(rare) > 5 else "")
    return [f"in fewer than {RARE_ROWS} rows, so that they may betray persons: {shown}"]


# Writing

_HEAD = """\
# A PROPOSAL READ FROM DATA. A person must review it before it is used.
#
# Bounds and categories read off private rows can betray persons. Go through every line marked REVIEW: let
# stand what the public knows anyway (a code book, a law, common sense), correct the rest, remove the mark.
# A row with an empty cell in a column that is not nullable is left out; other institutions may have such.
"""


def render(draft: Draft) -> str:
    """The proposal as ``schema.toml``: loading it gives the same schema."""
    document = schemas.to_document(draft.schema)
    blocks = [_block(block, draft.notes_on(block["name"])) for block in document["column"]]
    dropped = [f"# {_quoted(n.column)} {_one_line(n.text)}\n" for n in draft.notes if n.dropped]
    return "\n".join([_HEAD, f"name = {_quoted(draft.schema.name)}\n", *blocks, "".join(dropped)]).rstrip() + "\n"


def _block(block: dict[str, Any], notes: Sequence[Note]) -> str:
    marks = [f"# REVIEW: {_one_line(note.text)}\n" for note in notes if not note.dropped]
    return "".join([*marks, "[[column]]\n", *(_entry(key, value) for key, value in block.items())])


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


def _one_line(text: str) -> str:
    """Text that ends no comment early: control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


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
