"""How a column of the study's schema comes from a column of the institution's table.

    [source.mapping.sex]                 # a column of the schema
    from = "GESCHLECHT"                  # the table's name for it; by default the same
    recode = { "1" = "m", "2" = "f", "9" = "" }     # "" is missing

    [source.mapping.weight]
    from = "WEIGHT_LB"
    convert = "lb to kg"                 # or factor = 0.45359237 and offset = 0.0: value * factor + offset

    [source.mapping.admitted]
    format = "%d.%m.%Y"                  # how the table writes dates

    [source.mapping.crp]
    format = "1.234,5"                   # how it writes numbers (``written``)

A mapping is a map of single rows: what becomes of a row depends on that row and the mapping alone, so nothing is
learned from the table and no row affects another (docs/threat-model.md P10 to P12). The steps come in this order:

| step                        | what it does                                                                         |
|-----------------------------|--------------------------------------------------------------------------------------|
| ``recode``                  | a value of the list becomes its entry. A value outside stays, or becomes ``default``; |
|                             | a missing one stays missing, unless the list has an entry for ``""``                 |
| ``format`` of numbers       | a text that stayed becomes the number that is written so; what is none, missing      |
| ``convert``, or ``factor``  | value * factor + offset; what is not a number becomes missing                        |
| and ``offset``              |                                                                                      |
| ``format`` of moments       | a text becomes a moment, UTC without a zone; what is not of that format becomes missing |
"""

from __future__ import annotations

import math
import re
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, Strict

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.columns.absent import words_of
from cohortium.data.columns.categories import category_key
from cohortium.data.columns.encoding import INVALID, MISSING_WORDS, encode_column, normalized
from cohortium.data.columns.moments import read_moments
from cohortium.data.columns.values import numbers_of
from cohortium.data.columns.written import Written, read_numbers, written
from cohortium.data.schema import Schema
from cohortium.errors import SchemaError

# factor and offset, exact where the units are defined exactly
CONVERSIONS: dict[str, tuple[float, float]] = {
    "lb to kg": (0.45359237, 0.0),
    "oz to g": (28.349523125, 0.0),
    "in to cm": (2.54, 0.0),
    "ft to cm": (30.48, 0.0),
    "m to cm": (100.0, 0.0),
    "F to C": (5 / 9, -160 / 9),
    "K to C": (1.0, -273.15),
    "kPa to mmHg": (7.500615758456564, 0.0),
    "days to years": (1 / 365.25, 0.0),
    "months to years": (1 / 12, 0.0),
}

Word = Annotated[str, Strict()] | Annotated[bool, Strict()] | Annotated[int, Strict()] | Annotated[float, Strict()]
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[ T]00:00(:00(\.0+)?)?(\+00(:?00)?|Z)?")
_PROBE = datetime(2001, 12, 23)


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The mapping of one column; in TOML ``origin`` is written ``from``."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    origin: Annotated[str | None, Field(alias="from", min_length=1)] = None
    recode: abc.Mapping[str, Word] = field(default_factory=dict)
    default: Word | None = None
    convert: str | None = None
    factor: Annotated[float, Strict()] | None = None
    offset: Annotated[float, Strict()] | None = None
    format: str | None = None

    @property
    def scale(self) -> tuple[float, float] | None:
        """(factor, offset), or None where numbers stay as they are."""
        if self.convert is not None:
            return CONVERSIONS[self.convert]
        if self.factor is None and self.offset is None:
            return None
        return 1.0 if self.factor is None else self.factor, self.offset or 0.0


Mapping = abc.Mapping[str, ColumnMapping]  # by the schema's name of the column


def origin(name: str, mapping: Mapping) -> str:
    """The table's name of the schema's column ``name``."""
    return (mapping[name].origin if name in mapping else None) or name


def apply_mapping(rule: ColumnMapping, values: pd.Series, column: Column | None = None) -> pd.Series:
    """``values`` of the table as values of the schema's ``column``, or of the person's; no value raises."""
    how = _how_written(rule, column)
    read = values if how is None else read_numbers(values, how)
    if rule.recode:
        read = _recoded(values, read, rule, MISSING_WORDS if column is None else words_of(column))
    return _measured(read, rule)


def _how_written(rule: ColumnMapping, column: Column | None) -> Written | None:
    """How the table writes numbers, where the mapping says so, or the schema for numbers that are converted."""
    if rule.format is not None:
        return written(rule.format)
    said = getattr(column, "format", None)
    return written(said) if said is not None and rule.scale is not None else None


def _measured(values: pd.Series, rule: ColumnMapping) -> pd.Series:
    """The steps after numbers are read."""
    if rule.scale is not None:
        values = _converted(values, *rule.scale)
    return values if rule.format is None or written(rule.format) is not None else _moments(values, rule.format)


# Recoding


def _key(value: object) -> str:
    """How a value is looked up: as categories are compared, a date without its midnight, truth in lower case."""
    key = category_key(value)
    if key.lower() in ("true", "false"):
        return key.lower()
    midnight = _MIDNIGHT.fullmatch(key)
    return midnight[1] if midnight else key


def _text(word: Word) -> str:
    return str(word).lower() if isinstance(word, bool) else str(word)


def _lookup(rule: ColumnMapping, words: frozenset[str]) -> Callable[[object], str | None]:
    """From a value to its entry, or None where it stays."""
    table = {_key(old): _text(new) for old, new in rule.recode.items()}
    default = None if rule.default is None else _text(rule.default)

    def entry(value: object) -> str | None:
        if (key := _key(value)) in table:
            return table[key]
        return table.get("") if key.lower() in words else default

    return entry


def _recoded(values: pd.Series, read: pd.Series, rule: ColumnMapping, words: frozenset[str]) -> pd.Series:
    """Looked up once per distinct value; where one stays, it is what was ``read``. words: what says missing."""
    values, read = _without_moments(values), _without_moments(read)
    numbers, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    entry = _lookup(rule, words)
    entries = np.array([*(entry(v) for v in distinct), entry("")], object)[numbers]
    kept = read.to_numpy(dtype=object)
    return pd.Series(np.where([e is None for e in entries], kept, entries), values.index, dtype=object)


# Units and dates


def _without_moments(values: pd.Series) -> pd.Series:
    """Moments are text here, whatever they are stored as."""
    return values.astype("string").astype(object) if values.dtype.kind in "mM" else values


def _converted(values: pd.Series, factor: float, offset: float) -> pd.Series:
    numbers, largest = numbers_of(values), np.finfo(np.float64).max
    with np.errstate(over="ignore", invalid="ignore"):
        converted = numbers * factor + offset
    beyond = np.isfinite(numbers) & np.isinf(converted)  # of all bounds, and clipped to them
    return pd.Series(np.where(beyond, np.copysign(largest, converted), converted), values.index)


def _moments(values: pd.Series, pattern: str) -> pd.Series:
    """Moments in UTC; NaT where the text is not of the pattern. Words without a digit ("now") are no moments."""
    words = values.astype("string").str.strip().str.replace(r"([.,]\d{6})\d+", r"\1", regex=True)
    return read_moments(words.where(words.str.contains(r"\d", na=False)), pattern)


# Checks


def check_rules(mapping: Mapping) -> None:
    """SchemaError E_MAPPING unless every entry makes sense by itself."""
    for name, rule in mapping.items():
        place = f"source.mapping.{name}"
        _check_recode(place, rule)
        _check_scale(place, rule)
        if rule.format is not None and written(rule.format) is None and not _includes_the_year(rule.format):
            fix = 'Write it like "%d.%m.%Y" or "%Y%m%d %H:%M", with the year in it; for numbers as 1234.5 would be: "1.234,5".'
            raise _bad(f"{place}.format", "neither dates nor numbers can be read with this format", fix)


def check_mapping(mapping: Mapping, schema: Schema) -> None:
    """SchemaError E_MAPPING unless the mapping fits the study's schema."""
    for name, rule in mapping.items():
        place = f"source.mapping.{name}"
        if name == schema.person:
            if rule != ColumnMapping(origin=rule.origin):
                raise _bad(place, "the column that identifies the person can only be renamed", 'Keep only "from".')
        elif name not in schema.names:
            known = ", ".join([*schema.names, *([schema.person] if schema.person else [])])
            raise _bad(place, "the schema has no column of this name", f"Its columns are {known}.")
        else:
            _check_against(place, rule, schema.columns[schema.index(name)])


def _check_recode(place: str, rule: ColumnMapping) -> None:
    if rule.default is not None and not rule.recode:
        raise _bad(f"{place}.default", "there is no recode that it could belong to", "Add recode, or remove default.")
    keys = [_key(old) for old in rule.recode]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise _bad(f"{place}.recode", "two of its entries are for the same value", "Keep one of them.")


def _check_scale(place: str, rule: ColumnMapping) -> None:
    if rule.convert is not None:
        if rule.convert not in CONVERSIONS:
            fix = f"Known are {', '.join(CONVERSIONS)}; for others give factor and offset."
            raise _bad(f"{place}.convert", "this conversion is not known", fix)
        if rule.factor is not None or rule.offset is not None:
            raise _bad(place, "convert and factor or offset are both given", "Keep one of the two.")
    if rule.factor is not None and not (math.isfinite(rule.factor) and rule.factor):
        raise _bad(f"{place}.factor", "it is zero or not finite", "Give a finite number other than zero.")
    if rule.offset is not None and not math.isfinite(rule.offset):
        raise _bad(f"{place}.offset", "it is not finite", "Give a finite number.")


def _includes_the_year(pattern: str) -> bool:
    """Whether a moment that is written with ``pattern`` is read back with its year."""
    try:
        read: pd.Timestamp = pd.to_datetime(_PROBE.strftime(pattern), format=pattern)
    except ValueError:
        return False
    return read.year == _PROBE.year


def _check_against(place: str, rule: ColumnMapping, column: Any) -> None:
    kind: str = column.kind
    if rule.scale is not None and not isinstance(column, Continuous):
        raise _bad(place, f"units are converted, but the column is {kind}", "Only continuous columns have units.")
    if rule.format is not None and not isinstance(column, Continuous if written(rule.format) else Datetime):
        fix = "Only datetime columns have a format of dates, and only continuous ones a format of numbers."
        raise _bad(f"{place}.format", f"the column is {kind}", fix)
    given = [_text(w) for w in [*rule.recode.values(), *([] if rule.default is None else [rule.default])]]
    words = pd.Series([w for w in given if w.strip().lower() not in words_of(column)], dtype=object)
    if (encode_column(column, _measured(words, rule)) == INVALID).any():
        raise _bad(f"{place}.recode", "an entry gives what is no value of the column", _allowed(column))


def _allowed(column: Column) -> str:
    categories = getattr(column, "categories", None)
    values = f"one of {', '.join(map(str, categories))}" if categories else f"a {column.kind} value"
    return f'Give {values}, or "" for missing.'


def _bad(where: str, what: str, fix: str) -> SchemaError:
    return SchemaError("E_MAPPING", where, what, fix)
