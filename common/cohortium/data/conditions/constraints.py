"""What every row of a table keeps to: the blocks ``[[constraint]]`` of a ``schema.toml``.

    implies        where all conditions of ``when`` hold, all of ``then`` hold: blanks, for one, that other columns imply
    never          the conditions of ``all`` do not hold together
    combinations   of two or more columns only the listed combinations occur
    order          each column is at most the next one, or below it where ``strict``
    sum            ``total`` is the sum of ``parts``

Conditions are texts as in ``parsing.py``: ``age<15``, ``result=positive``, ``income=missing``. A row of ``combinations`` has
one value, range or ``"missing"`` a column. Orders and sums hold wherever no value of theirs is missing. ``rules.py`` has
what they mean for the values and cells of a schema.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, Strict

Texts = Annotated[tuple[str, ...], Field(min_length=1)]
Entry = Annotated[bool, Strict()] | Annotated[int, Strict()] | Annotated[float, Strict()] | Annotated[str, Strict()]


@dataclass(frozen=True, kw_only=True)
class BaseConstraint:
    """What every kind of constraint has."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Implies(BaseConstraint):
    kind: Literal["implies"] = "implies"
    when: Texts
    then: Texts

    def __str__(self) -> str:
        return f"where {_together(self.when)}: {_together(self.then)}"


@dataclass(frozen=True, kw_only=True)
class Never(BaseConstraint):
    kind: Literal["never"] = "never"
    all: Texts

    def __str__(self) -> str:
        return f"never {_together(self.all)}"


@dataclass(frozen=True, kw_only=True)
class Combinations(BaseConstraint):
    kind: Literal["combinations"] = "combinations"
    columns: Annotated[tuple[str, ...], Field(min_length=2)]
    rows: Annotated[tuple[tuple[Entry, ...], ...], Field(min_length=1)]

    def __str__(self) -> str:
        return f"{len(self.rows)} combinations of {', '.join(self.columns)}"


@dataclass(frozen=True, kw_only=True)
class Order(BaseConstraint):
    """Columns of one kind: numbers, moments, or ordered categories with the same list of them."""

    kind: Literal["order"] = "order"
    columns: Annotated[tuple[str, ...], Field(min_length=2)]
    strict: bool = False

    def __str__(self) -> str:
        return (" < " if self.strict else " <= ").join(self.columns)


@dataclass(frozen=True, kw_only=True)
class Sum(BaseConstraint):
    """Of numbers, exact: ``total`` has the decimals of its parts."""

    kind: Literal["sum"] = "sum"
    total: str
    parts: Annotated[tuple[str, ...], Field(min_length=2)]

    def __str__(self) -> str:
        return f"{self.total} = {' + '.join(self.parts)}"


Constraint = Annotated[Implies | Never | Combinations | Order | Sum, Field(discriminator="kind")]


def to_block(constraint: BaseConstraint) -> dict[str, Any]:
    """A constraint as the content of its block, defaults left out."""
    given = {name: getattr(constraint, name) for name in ("kind", *(f.name for f in fields(constraint)))}
    return {k: _plain(v) for k, v in given.items() if v not in ("", False, None)}


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _together(texts: tuple[str, ...]) -> str:
    return ", ".join(texts)
