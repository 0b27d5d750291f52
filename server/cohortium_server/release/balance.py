"""Samples in which a column's values have other shares than in the model: equal ones, or those asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.conditions.parsing import MISSING, position, selection, selection_by_text, words
from cohortium.data.conditions.selection import Selection, everything
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium_server.generators import Generator
from cohortium_server.release.rows import Selections, drawn_table

Balance = str | Mapping[str, Mapping[Any, float]]
NOTE = "Rebalanced: the shares of its values, and of all that depends on them, are not the population's."
_ROUNDED = 1e-3  # by how much shares may miss 1
_ITEM = re.compile(r"\s*(.*?)\s*:\s*(\d*\.?\d+)\s*(?:,|$)", re.DOTALL)


@dataclass(frozen=True)
class Share:
    """name: of the values, in words. part: of the rows, 0 to 1."""

    name: str
    values: Selection
    part: float


@dataclass(frozen=True)
class Balanced:
    """A column, by position, and the shares of its values, which add up to 1."""

    column: int
    shares: tuple[Share, ...]

    def counts(self, rows: int) -> list[int]:
        """Rows of every share, which add up to ``rows``: each less than one away from its part (largest remainders)."""
        exact = np.array([share.part for share in self.shares]) * rows
        counts = np.floor(exact).astype(np.int64)
        counts[np.argsort(counts - exact, kind="stable")[: rows - counts.sum()]] += 1
        return [int(n) for n in counts]


def read_balance(schema: Schema, balance: Balance, where: Selections) -> Balanced:
    """What is asked for, among what ``where`` selects. Raises ReleaseError E_CONDITION where it makes no sense.

    balance: a column, whose values get equal shares, the missing one none; a column to values, or ranges, to their
    shares; or that as text, ``result=positive:0.3,negative:0.7``.
    """
    j, asked = _asked(schema, balance)
    column = schema.columns[j]
    kept = where.get(j, everything(column))
    shares = [replace(s, values=s.values & kept) for s in (_evenly(column) if asked is None else asked)]
    if asked is None:
        shares = [s for s in shares if not s.values.empty]
    _check_apart(column, shares)
    total = sum(s.part for s in shares)
    return Balanced(j, tuple(replace(s, part=s.part / total) for s in shares))


def _check_apart(column: Column, shares: Sequence[Share]) -> None:
    """Every share has values of its own."""
    if not shares:
        raise _refused(column, "where leaves no value of it", "Widen the condition.")
    for k, share in enumerate(shares):
        if share.part > 0 and share.values.empty:
            raise _refused(column, f"where leaves no {share.name}", "Give it no share, or widen the condition.")
        if any(not (share.values & other.values).empty for other in shares[:k]):
            raise _refused(column, f"{share.name} is in two shares", "Name every value once.")


def balanced_table(
    generator: Generator, schema: Schema, rows: int, rng: np.random.Generator, where: Selections, balanced: Balanced
) -> pd.DataFrame:
    """Exactly so many rows in random order; ``attrs["balance"]`` gives the rows of every share.

    Each share's rows are drawn under its values as a condition: all other columns follow as in the model.
    """
    j, parts, counted = balanced.column, list[pd.DataFrame](), dict[str, int]()
    for share, count in zip(balanced.shares, balanced.counts(rows), strict=True):
        try:
            parts.append(drawn_table(generator, schema, count, rng, {**where, j: share.values}))
        except ReleaseError as error:
            raise _refused(schema.columns[j], f"{share.name}: {error.what}", "Give it no share.") from None
        counted[share.name] = count
    table = pd.concat(parts, ignore_index=True).iloc[rng.permutation(rows)].reset_index(drop=True)
    table.attrs["balance"] = {"column": schema.names[j], "rows": counted, "note": NOTE}
    return table


def _asked(schema: Schema, balance: Balance) -> tuple[int, Sequence[Share] | None]:
    """The column, and the shares that are asked for by name."""
    if isinstance(balance, str):
        return _asked_by_text(schema, balance)
    if not isinstance(balance, Mapping) or len(balance) != 1:
        raise ReleaseError("E_CONDITION", "balance", "it is not of one column", "Balance one column, and use where.")
    ((name, parts),) = balance.items()
    column = schema.columns[position(schema, name)]
    if not isinstance(parts, Mapping):
        raise _refused(column, "it has no shares", "Write balance={'column': {value: share, ...}}.")
    named = [(words(value), selection(column, value), part) for value, part in parts.items()]
    return schema.names.index(name), _checked(column, named)


def _asked_by_text(schema: Schema, text: str) -> tuple[int, Sequence[Share] | None]:
    if text not in schema.names:
        for name in sorted(schema.names, key=len, reverse=True):
            if found := re.fullmatch(rf"\s*{re.escape(name)}\s*=(.*)", text, re.DOTALL):
                column = schema.columns[j := schema.names.index(name)]
                return j, _checked(column, _shares_by_text(column, found[1]))
    return position(schema, text), None


def _shares_by_text(column: Column, text: str) -> list[tuple[str, Selection, Any]]:
    """``positive:0.3,negative:0.7``; a value may hold commas and colons."""
    found = _ITEM.findall(text)
    if not found or _ITEM.sub("", text):
        raise _refused(column, "its shares cannot be read", "Write column=value:share,value:share.")
    return [(value or MISSING, selection_by_text(column, value), part) for value, part in found]


def _checked(column: Column, named: Sequence[tuple[str, Selection, Any]]) -> list[Share]:
    try:
        shares = [Share(name, values, float(part)) for name, values, part in named]
    except (TypeError, ValueError):
        raise _refused(column, "a share is not a number", "Write shares from 0 to 1.") from None
    if any(not 0 <= s.part <= 1 for s in shares):
        raise _refused(column, "a share is not between 0 and 1", "Write shares from 0 to 1.")
    if not math.isclose(total := sum(s.part for s in shares), 1.0, abs_tol=_ROUNDED):
        raise _refused(
            column, f"its shares add up to {total:g}", "Name all that is wanted, with shares adding up to 1."
        )
    return shares


def _evenly(column: Column) -> list[Share]:
    """Every value but the missing one."""
    if isinstance(column, Continuous | Datetime):
        raise _refused(column, "it has no listed values", "Name ranges and their shares.")
    names = [str(c) for c in getattr(column, "categories", ("false", "true"))]
    return [Share(name, Selection(((k, k),)), 1 / len(names)) for k, name in enumerate(names)]


def _refused(column: Column, what: str, fix: str) -> ReleaseError:
    return ReleaseError("E_CONDITION", f"balance of {column.name!r}", what, fix)
