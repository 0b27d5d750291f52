"""Before step 1: a first schema, proposed from data.

A schema must not be read off private rows: observed bounds and categories can reveal persons (docs/threat-model.md P10).
But nobody writes one from scratch. ``draft`` makes a proposal for a person to review. It is not a schema yet: everything that
follows from rows is marked (``review``), and nobody can sign or simulate a schema while a mark is left.

Three rules keep single persons out of what a reviewer overlooks; none of them is differential privacy:

    a value is listed if RARE or more persons have it (rows, where no person column is named); the screen alone shows others
    bounds lie beyond the RARE-th lowest and highest person's number, never on it: on multiples of a round step that is a
        quarter of the range between them or more (``wide_bounds``)
    the written proposal holds no count and no other value; counts are for the institution's own screen

Files are read in parts: facts about two parts add up to facts about both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

import pandas as pd

from cohortium.data import columns
from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.absent import AMONG_NUMBERS, AMONG_TEXTS, PERHAPS
from cohortium.data.columns.derived import Following
from cohortium.data.schema import Schema
from cohortium.drafting import identifying, mixed
from cohortium.drafting.codes import code_column, doubts
from cohortium.drafting.dates import moment_column
from cohortium.drafting.disguises import Disguises
from cohortium.drafting.facts import FEW_CODES, MANY_WORDS, MOSTLY, RARE, ColumnFacts, facts_of, unit_of
from cohortium.drafting.found import Found, Note, Proposal, quoted
from cohortium.drafting.numbers import are_codes, is_whole, number_column
from cohortium.drafting.tally import Tally, Tallying
from cohortium.drafting.texts import text_column
from cohortium.drafting.times import times_column
from cohortium.errors import SchemaError
from cohortium.system.texts import trouble

FEW_DAYS = 5  # whole numbers that are dates must be more
LONG_NAME = 200
READ_OF_TABLE = ("name", "columns")  # the file's name, and which columns it has and which of them are left out
READ: dict[type[columns.BaseColumn], tuple[str, ...]] = {  # off rows, what is not there as well as what is
    Boolean: ("kind", "nullable", "missing", "spelling"),
    Categorical: ("kind", "nullable", "missing", "categories", "other"),
    Ordinal: ("kind", "nullable", "missing", "categories"),
    Continuous: (
        *("kind", "nullable", "missing", "lower", "upper", "decimals", "bins", "points", "format"),
        *("step", "endings", "digits", "special"),
    ),
    Datetime: ("kind", "nullable", "missing", "lower", "upper", "resolution", "special", "format"),
}
_BYTES = re.compile(r"\\x[0-9a-f]*")
_LEADING_ZERO = re.compile(r"0[0-9]")
_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,14})\.0")  # a code as programs write it beside blanks
_PLAIN = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_PAIRS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))


@dataclass(frozen=True)
class Draft:
    """A proposal: its schema is marked wherever it follows from rows.

    notes: why what is proposed, column by column. They and ``tally`` hold what was seen of rows: for the institution's own screen.
    tallies: of each table by name, where there are several.

    >>> import cohortium
    >>> draft = cohortium.draft_schema({"age": [30, 41, 56, 62] * 50, "result": ["positive", "negative"] * 100}, targets="result")
    >>> draft.schema.columns[1].categories
    ('negative', 'positive')
    >>> bool(draft.notes_on("age"))
    True
    """

    schema: Schema
    notes: tuple[Note, ...]
    tally: Tally = field(default_factory=partial(Tally, 0))  # for the institution's own screen
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Draft of {repr(self.schema).strip('<>')}>"

    def _repr_html_(self) -> str:
        return self.schema._repr_html_()

    def notes_on(self, column: str, table: str = "") -> tuple[Note, ...]:
        """table: of events; by default the persons', or the only one."""
        return tuple(n for n in self.notes if (n.column, n.table) == (column, table))


@dataclass(frozen=True)
class Proposed:
    """What is proposed of one table's columns: maybe none."""

    columns: tuple[Column, ...]
    notes: tuple[Note, ...]
    tally: Tally


def draft(
    parts: Iterable[pd.DataFrame],
    name: str,
    targets: Sequence[str] = (),
    person: str | None = None,
    drop: Sequence[str] = (),
) -> Draft:
    """A schema proposed from the table that comes in ``parts``; an unknown name raises E_SCHEMA_MISSING."""
    found = proposed(parts, targets, person, drop)
    if not found.columns:
        raise nothing_left(person)
    schema = Schema(name=table_name(name), person=person, columns=found.columns, review=READ_OF_TABLE)
    return Draft(schema, found.notes, found.tally)


def nothing_left(person: str | None) -> SchemaError:
    fix = f"Add rows: what fewer than {RARE} {unit_of(person)} have is not proposed. Or drop fewer columns."
    return SchemaError("E_SCHEMA_INVALID", "draft", "no column is left", fix)


def proposed(
    parts: Iterable[pd.DataFrame], targets: Sequence[str], person: str | None, drop: Sequence[str]
) -> Proposed:
    """The columns of one table; raises as ``draft``, but for a table of which none is left."""
    kept = [*targets, *([person] if person is not None else [])]
    if both := sorted({*kept} & {*drop}):
        raise SchemaError("E_SCHEMA_INVALID", "draft", f"column {both[0]!r} is named and dropped", "Decide for one.")
    watch, disguises = Tallying(person), Disguises(MOSTLY)
    following = Following([*drop, *([person] if person is not None else [])])
    facts, numbers = facts_of(following.through(watch.over(parts)), person, kept, drop, disguises)
    proposals = [
        _undisguised(column, known, numbers.get(column), column in targets, disguises)
        for column, known in facts.items()
        if column != person
    ]
    columns = tuple(p.column for p in proposals if p.column is not None)
    notes = tuple(note for p in proposals for note in p.notes)
    notes += tuple(Note(name, "", seen=seen) for name, seen in following.described([c.name for c in columns], targets))
    if person is not None and facts[person].nullable:
        notes += (Note(person, "rows without a person are left out of the table"),)
    return Proposed(columns, notes, watch.tally)


def table_name(name: str) -> str:
    """The table's name, or a plain one where that can be none."""
    return name if 0 < len(name) <= LONG_NAME and not trouble(name) else "table"


def _undisguised(
    name: str, facts: ColumnFacts, numbers: ColumnFacts | None, target: bool, disguises: Disguises
) -> Proposal:
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
            return Proposal(column, (*(Note(name, text) for text in texts), *found.notes))
    return _propose(name, facts, target)


def _propose(name: str, facts: ColumnFacts, target: bool) -> Proposal:
    """A column for what is known, or none, with notes on why."""
    reason = _reason_to_drop(name, facts, target)
    if reason:
        return Proposal(None, (Note(name, reason, dropped=True),))
    found = _column(name, facts)
    column, texts = found.column, found.texts
    if column is not None and column.size < 2:
        column, texts = None, (f"dropped: fewer than two of its values are shared by {RARE} {facts.unit}",)
    if column is None:
        return Proposal(None, tuple(Note(name, text, dropped=True, seen=found.seen) for text in texts))
    marked = replace(column, target=target, review=READ[type(column)], missing=found.missing(facts))
    notes = [Note(name, text) for text in texts] + _words_notes(marked, facts, found)
    return Proposal(marked, (*notes, *([Note(name, "", seen=found.seen)] if found.seen else [])))


def _reason_to_drop(name: str, facts: ColumnFacts, target: bool) -> str:
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
    return identifying.reason_to_drop(name, facts)


def _words_notes(column: columns.Column, facts: ColumnFacts, found: Found) -> list[Note]:
    """Which words were taken for missing, with counts on the screen alone; and which may be, and were not."""
    notes = []
    if words := found.words(facts):
        seen = ", ".join(f"{quoted(w)} ({n} {facts.unit})" for w, n in words.items())
        text = "words of missing are taken for blanks; what is a value, declare as one and take out of missing"
        notes.append(Note(column.name, text, seen=f"taken for missing: {seen}"))
    kept = [c for c in getattr(column, "categories", ()) if str(c).lower() in PERHAPS]
    if kept:
        shown = ", ".join(map(quoted, kept))
        notes.append(Note(column.name, f"kept as values: {shown}; move those that mean a missing value to missing"))
    return notes


def _column(name: str, facts: ColumnFacts) -> Found:
    texts, numbers = facts.without(AMONG_TEXTS), facts.without(AMONG_NUMBERS)
    plain, taken = numbers, AMONG_NUMBERS
    if is_whole(numbers):  # codes, and a word beside them may be one
        numbers, taken = texts, AMONG_TEXTS
    if not numbers.valid or not texts.valid:
        return Found(None, ("dropped: every cell is empty, or says that it is",))
    if numbers.moments >= MOSTLY * numbers.valid and numbers.distinct >= (FEW_DAYS if numbers.numbers else 1):
        return replace(moment_column(name, numbers), taken=taken)
    if found := times_column(name, plain) or mixed.mixed_column(name, plain) or _codes(name, plain):
        return found
    if numbers.numbers >= MOSTLY * numbers.valid and not _are_names(numbers):
        found = replace(number_column(name, numbers), taken=taken)
        return (
            replace(found, texts=(*found.texts, *_hints(name, numbers)))
            if isinstance(found.column, Continuous)
            else found
        )
    return _boolean_column(name, texts) or text_column(name, texts)


def _codes(name: str, facts: ColumnFacts) -> Found | None:
    """A list of codes; few that are small numbers are one in any case."""
    return None if facts.distinct < 2 or are_codes(facts) else code_column(name, facts)


def _hints(name: str, facts: ColumnFacts) -> tuple[str, ...]:
    """What else the numbers may be."""
    return (*(identifying.hints(name, facts) or doubts(name, facts)), *mixed.hints(facts))


def _boolean_column(name: str, facts: ColumnFacts) -> Found | None:
    """True and false as most write them; None for other words."""
    words = {w.lower() for w in facts.counts}
    pair = next((p for p in _PAIRS if words == {*p} or (p == _PAIRS[0] and words and words <= {*p})), None)
    if pair is None or (pair != _PAIRS[0] and len({w.lower() for w in facts.shared}) < 2):
        return None
    common = facts.counts.most_common(1)[0][0]
    style = str.upper if common.isupper() else str.title if common.istitle() else str.lower
    spelling = (style(pair[0]), style(pair[1]))
    return Found(
        Boolean(name=name, nullable=facts.nullable, spelling=None if spelling == ("False", "True") else spelling)
    )


def _are_names(facts: ColumnFacts) -> bool:
    """Whether numbers are but names: few and beside words, with leading zeros like area codes, or one number in two spellings."""
    beside_words = facts.numbers < facts.valid and facts.distinct <= FEW_CODES
    single = facts.distinct == 1 and not is_whole(facts)
    padded = sum(count for word, count in facts.counts.items() if _LEADING_ZERO.match(word))
    return beside_words or single or padded >= max(1, min(RARE, facts.valid / 20)) or _are_spelt(facts)


def _are_spelt(facts: ColumnFacts) -> bool:
    """Whether the spelling holds more than the number: 401 beside 401.0, 1.1 beside 1.10; +1; or few that all end in .0."""
    shared = [w for w in facts.shared if not w.startswith("-0")]
    if facts.distinct > MANY_WORDS or not shared:
        return False
    numbers = [Decimal(w) for w in shared if _is_number(w)]
    signed = any(w.startswith("+") for w in shared)
    few = facts.distinct <= FEW_CODES and all(_FLOAT.fullmatch(w) for w in facts.counts)
    return len(set(numbers)) < len(numbers) or signed or few or _are_ragged(shared)


def _are_ragged(words: list[str]) -> bool:
    """Whether some words end in zeros that others lack: 250.00 beside 401.9, as no program writes numbers."""
    plain = [w for w in words if _PLAIN.fullmatch(w)]
    decimals = {w: len(w.partition(".")[2]) for w in plain}
    padded = [d for w, d in decimals.items() if d and w.endswith("0")]
    present = {*decimals.values()}
    return len(present) > 1 and (any(d > 1 for d in padded) or (bool(padded) and 0 in present))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
