"""Conditions on rows: columns and the values they may take, as a user writes them.

In Python, a mapping of columns to conditions: a value, ``None`` for a missing one, ``between(40, 60)``,
``other_than("x")``, or a list of these, of which one must hold:

    {"age": between(40, 60), "result": ["positive", "invalid"], "payor": other_than("self", None)}

As text, on the command line and in files, one condition each:

    age=40..60   age>=40   age<60   result=positive   result!=negative   ward=missing   seen=2020-03..   age!=40..60

Conditions on several columns must all hold. So must those on one column, except that of several ``=`` one must hold. Both
ends of a range belong to it. Numbers are compared exactly, ordered categories by their rank, and a year, month or day
stands for all its moments. Missing counts as one more value: ``other_than`` and ``!=`` include it unless they name it, and
a range excludes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import reduce, singledispatch
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from cohortium.data.columns import SECONDS, Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.categories import category_key, reader
from cohortium.data.columns.dequantization import joined, scale_of
from cohortium.data.columns.encoding import INVALID, encode_column
from cohortium.data.columns.grids import Digits, Endings, Even, decimal
from cohortium.data.columns.grids import ends as grid_ends
from cohortium.data.columns.moments import moments_of
from cohortium.data.conditions import swallowed
from cohortium.data.conditions.described import Described
from cohortium.data.conditions.selection import Selection, everything
from cohortium.errors import ReleaseError
from cohortium.system.arguments import described
from cohortium.system.nearest import nearest, offered

Where = Mapping[str, Any] | Iterable[str]
Inclusive = Literal["both", "left", "right", "neither"]
MISSING = "missing"
_SIGN = r"\s*(!=|>=|<=|==|=|>|<)\s*"
_LISTED = 12  # values that a message names
_RANGE = "; a range is low..high, in Python between(low, high)."


@dataclass(frozen=True)
class Between:
    """Values from ``lower`` to ``upper``; None is no end. inclusive: which ends belong to it, as in pandas."""

    lower: Any = None
    upper: Any = None
    inclusive: Inclusive = "both"

    def __post_init__(self) -> None:
        if self.inclusive not in get_args(Inclusive):
            what = "inclusive is neither both, left, right nor neither"
            raise ReleaseError("E_CONDITION", "between", what, "Choose one of them.")

    def __str__(self) -> str:
        low, high = ("" if end is None else str(end) for end in (self.lower, self.upper))
        if self.inclusive == "both":
            return f"{low}..{high}"
        signs = [">=" if self.inclusive == "left" else ">", "<=" if self.inclusive == "right" else "<"]
        return " and ".join(sign + end for sign, end in zip(signs, (low, high), strict=True) if end)


@dataclass(frozen=True)
class OtherThan:
    """Every value but these."""

    conditions: tuple[Any, ...]

    def __str__(self) -> str:
        return f"other than {', '.join(words(one) for one in self.conditions)}"


def words(condition: Any) -> str:
    """A condition on one column, in words."""
    return MISSING if condition is None else str(condition)


def selected(schema: Described, where: Where) -> dict[int, Selection]:
    """Per conditioned column, by position, the values that it may take.

    where: a mapping or texts, as above. Raises ReleaseError E_CONDITION for a column or value the schema does not have, or
    where no value is left.
    """
    if isinstance(where, Mapping):
        chosen = {position(schema, name): wanted for name, wanted in where.items()}
        found = {j: selection(schema.columns[j], wanted) for j, wanted in chosen.items()}
    else:
        texts = [where] if isinstance(where, str) else list(where) if isinstance(where, Iterable) else [where]
        found = _selected_by_texts(schema, [_text(one) for one in texts])
    for j, one in found.items():
        if one.empty:
            raise _refused(schema.columns[j], "no value is left", "Widen the condition.")
    return found


def position(schema: Described, name: str) -> int:
    """Position of the column ``name``; ReleaseError E_CONDITION if there is no such column."""
    if not isinstance(name, str):
        what = f"a column is named by a text, and this is {described(name)}"
        raise ReleaseError("E_CONDITION", "condition", what, offered("", schema.names, "Columns are"))
    if name not in schema.names:
        columns = offered(name, schema.names, "Columns are")
        raise ReleaseError("E_CONDITION", "condition", f"there is no column {name!r}", columns)
    return schema.names.index(name)


def selection(column: Column, condition: Any) -> Selection:
    """What a condition on one column, as it is written in Python, leaves of it; ReleaseError E_CONDITION."""
    match condition:
        case Between():
            return _in_range(column, condition)
        case OtherThan():
            return selection(column, list(condition.conditions)).others(column)
        case (_, _) if isinstance(condition, tuple) and not isinstance(column, Categorical | Boolean):
            raise _refused(column, "a pair may be a range or two values", "Write between(low, high), or a list [a, b].")
        case Mapping():
            raise _refused(column, "a mapping is no condition", "Write a value, a list, between() or other_than().")
        case Iterable() if not isinstance(condition, str | bytes):
            each = (selection(column, one) for one in condition)
            return reduce(Selection.__or__, each, Selection(()))
        case _:
            return _of_value(column, condition)


def selection_by_text(column: Column, text: str) -> Selection:
    """What a value or a range written as text leaves of a column; ReleaseError E_CONDITION."""
    if isinstance(column, Continuous | Datetime) or not _is_value(column, text):  # no number or moment has two dots
        for dots in re.finditer(r"\.\.", text):
            low, high = text[: dots.start()].strip() or None, text[dots.end() :].strip() or None
            if all(end is None or _is_value(column, end) for end in (low, high)):
                return selection(column, Between(low, high))
    return selection(column, text)


def _text(condition: object) -> str:
    if not isinstance(condition, str):
        what = f"it is {described(condition)}, not a text such as 'age=40..60'"
        raise ReleaseError("E_CONDITION", "condition", what, 'Write texts, or a mapping: {"age": between(40, 60)}.')
    return condition


def _selected_by_texts(schema: Described, texts: Sequence[str]) -> dict[int, Selection]:
    equal: dict[int, Selection] = {}
    other: dict[int, Selection] = {}
    for text in texts:
        j, sign, value = _taken_apart(schema, text)
        column = schema.columns[j]
        if sign == "=":
            equal[j] = equal.get(j, Selection(())) | selection_by_text(column, value)
        else:
            other[j] = other.get(j, everything(column)) & _compared(column, sign, value)
    return {**other, **{j: one & other.get(j, one) for j, one in equal.items()}}


def _taken_apart(schema: Described, text: str) -> tuple[int, str, str]:
    """Column, sign and value of a condition. Names may hold signs: the longest name that one follows is meant."""
    for name in sorted(schema.names, key=len, reverse=True):
        if found := re.fullmatch(rf"\s*{re.escape(name)}{_SIGN}(.*?)\s*", text, re.DOTALL):
            return schema.names.index(name), found[1].replace("==", "="), found[2]
    if sign := re.search(_SIGN, text):
        position(schema, text[: sign.start()].strip())
    what, fix = "it has no column and sign", "Write column=value, column!=value or column=low..high."
    if (name := text.strip()) in schema.names:
        what, fix = f"{what}, but the column {name!r} alone", f"{fix} {swallowed.hint(name)}"
    raise ReleaseError("E_CONDITION", "condition", what, fix)


def _compared(column: Column, sign: str, value: str) -> Selection:
    match sign:
        case "!=":
            return selection_by_text(column, value).others(column)
        case ">=" | ">":
            return _in_range(column, Between(value, None, "both" if sign == ">=" else "neither"))
        case _:
            return _in_range(column, Between(None, value, "both" if sign == "<=" else "neither"))


def _in_range(column: Column, wanted: Between) -> Selection:
    if isinstance(column, Categorical | Boolean):
        raise _refused(column, "its values have no order", "Name the values that are wanted.")
    first, last = 0, scale_of(column) - 1
    if wanted.lower is not None:
        begin, end = ends(column, wanted.lower)
        first = max(first, begin if wanted.inclusive in ("both", "left") else end + 1)
    if wanted.upper is not None:
        begin, end = ends(column, wanted.upper)
        last = min(last, end if wanted.inclusive in ("both", "right") else begin - 1)
    return Selection(((first, last),) if first <= last else ())


def _of_value(column: Column, value: Any) -> Selection:
    if not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value):
        return _missing(column)
    if value in ("", MISSING) and not _is_value(column, value):
        return _missing(column)
    found = _special(column, value)
    if found.empty or isinstance(column, Datetime):  # a year may hold both
        found |= _in_grid(column, *ends(column, value))
    if found.empty:
        raise _refused(column, f"{value!r} is not one of its values", _expected(column))
    return found


def _in_grid(column: Column, begin: int, end: int) -> Selection:
    first, last = max(0, begin), min(scale_of(column) - 1, end)
    return Selection(((first, last),) if first <= last else ())


def _special(column: Column, value: Any) -> Selection:
    """The values of their own that a value is, or a day, month or year holds."""
    match column:
        case Continuous():
            number = _number(column, value)
            found = [k for k, special in enumerate(column.special) if decimal(special) == number]
        case Datetime():
            begin, end = _seconds(column, value)
            after = [int((special - column.lower).total_seconds()) for special in column.special]
            found = [k for k, seconds in enumerate(after) if begin <= seconds < end]
        case _:
            return Selection(())
    return Selection(joined([(column.grid + k, column.grid + k) for k in found]))


def _missing(column: Column) -> Selection:
    if not column.nullable:
        raise _refused(column, "it is never missing", _expected(column))
    return Selection((), missing=True)


def _is_value(column: Column, value: Any) -> bool:
    """Whether a value can be read, though it may lie beyond the column's bounds or between its steps."""
    try:
        ends(column, value)
    except ReleaseError:
        return False
    return True


@singledispatch
def ends(column: Any, value: Any) -> tuple[int, int]:
    """The first grid index that is not below a value, and the last that is not above it; ReleaseError E_CONDITION.

    Of a value between two steps the second is less than the first; beyond the bounds they are no indices.
    """
    raise TypeError(type(column).__name__)


@ends.register(Categorical)
@ends.register(Ordinal)
def _rank(column: Categorical | Ordinal, value: Any) -> tuple[int, int]:
    if (rank := reader(column.categories)(value)) is None:
        meant = nearest(category_key(value), map(category_key, column.categories))
        perhaps = f" Perhaps {meant} is meant." if meant else ""
        raise _refused(column, f"{value!r} is not one of its values", _expected(column) + perhaps)
    return rank, rank


@ends.register
def _truth(column: Boolean, value: Any) -> tuple[int, int]:
    (cell,) = encode_column(column, pd.Series([value], dtype=object)).tolist()
    if cell == INVALID:
        raise _refused(column, f"{value!r} is not one of its values", _expected(column))
    return cell, cell


@ends.register
def _step(column: Continuous, value: Any) -> tuple[int, int]:
    return grid_ends(column.axis, _number(column, value))


def _number(column: Continuous, value: Any) -> Decimal:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("nan")
    if number.is_nan():
        raise _refused(column, f"{value!r} is not a number", _expected(column))
    return number


@ends.register
def _moments(column: Datetime, value: Any) -> tuple[int, int]:
    begin, end = _seconds(column, value)
    step = SECONDS[column.resolution]
    return -(-begin // step), -(-end // step) - 1


def _seconds(column: Datetime, value: Any) -> tuple[int, int]:
    """Seconds from the column's lower bound to the beginning of a value and to its end: of a day, month or year the next."""
    text = value.isoformat() if type(value) is date else str(value).strip()
    try:
        whole = re.fullmatch(r"\d{4}(-\d\d){0,2}", text)
        moment = np.datetime64(text) if whole else _moment(text, column.format)
    except ValueError:
        moment = np.datetime64("NaT")
    if np.isnat(moment):
        raise _refused(column, f"{value!r} is not a moment", _expected(column))
    lower = np.datetime64(column.lower, "s")
    begin, end = ((m.astype("datetime64[s]") - lower).astype(int) for m in (moment, moment + 1))
    return int(begin), int(end)


def _moment(text: str, pattern: str) -> np.datetime64:
    """Moments to the second in UTC; NaT where a text is not a moment."""
    read = moments_of(pd.Series([text], dtype="string"), pattern)
    moment: np.datetime64 = read.to_numpy()[0].astype("datetime64[s]")
    return moment


def _refused(column: Column, what: str, fix: str) -> ReleaseError:
    return ReleaseError("E_CONDITION", f"condition on {column.name!r}", what, fix)


def _expected(column: Column) -> str:
    """The values of a column, in words."""
    match column:
        case Continuous():
            bounds = f"numbers from {column.lower:.15g} to {column.upper:.15g}"
            return f"Its values are {bounds} {_steps(column)}{_specials(column)}{_RANGE}"
        case Datetime():
            bounds = f"moments from {column.lower} to {column.upper}, a {column.resolution} apart"
            return f"Its values are {bounds}{_specials(column)}{_RANGE}"
        case Boolean():
            return "Its values are true and false."
    names = [str(c) for c in column.categories]
    more = f" and {len(names) - _LISTED} others" if len(names) > _LISTED else ""
    return f"Its values are {', '.join(names[:_LISTED])}{more}."


def _steps(column: Continuous) -> str:
    match column.axis:
        case Digits(digits=digits):
            return f"of {digits} significant digits"
        case Endings(step=step, endings=endings):
            return f"that end as {', '.join(f'{e:g}' for e in endings)} beyond a multiple of {step:.15g}"
        case Even() as even:
            return f"in steps of {even.exact_step}"


def _specials(column: Continuous | Datetime) -> str:
    return f", and {', '.join(map(str, column.special))}" if column.special else ""
