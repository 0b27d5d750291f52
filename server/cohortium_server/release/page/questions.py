"""Some questions about the real table and their answers, which anybody could ask of the release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cohortium.data.columns import Boolean, Column, Continuous, Datetime
from cohortium.errors import ReleaseError
from cohortium_server.release.answers import Answer, Answers
from cohortium_server.release.page.numerals import percent, signed

MOST = 6  # columns asked about


@dataclass(frozen=True)
class Question:
    """A question in words, and the estimate and the ends of its interval."""

    question: str
    estimate: str
    low: str
    high: str


def questions(answers: Answers, targets: Sequence[int]) -> list[Question]:
    """The largest share of each of some columns, the same with a target's rarest value, and means of numbers."""
    columns = answers.schema.columns
    listed = [j for j, c in enumerate(columns) if not isinstance(c, Continuous | Datetime)]
    chosen = [*(j for j in listed if j in targets), *(j for j in listed if j not in targets)][:MOST]
    numeric = [c.name for c in columns if isinstance(c, Continuous)][:MOST]
    largest = {columns[j].name: _values(columns[j])[_extreme(answers, j, 1)] for j in chosen}
    found = [_share(answers, {name: value}) for name, value in largest.items()]
    if chosen and chosen[0] in targets:
        rarest = {columns[chosen[0]].name: _values(columns[chosen[0]])[_extreme(answers, chosen[0], -1)]}
        found += [_share(answers, {**rarest, columns[j].name: largest[columns[j].name]}) for j in chosen[1:]]
    return [one for one in (*found, *_means(answers, numeric)) if one]


def _values(column: Column) -> tuple[Any, ...]:
    return (False, True) if isinstance(column, Boolean) else tuple(getattr(column, "categories", ()))


def _extreme(answers: Answers, j: int, sign: int) -> int:
    """The largest or smallest of the listed values."""
    shares = answers.model.singles[j][: answers.schema.columns[j].values]
    return int((sign * shares).argmax())


def _share(answers: Answers, where: dict[str, Any]) -> Question | None:
    words = " and ".join(f"{name} is {value}" for name, value in where.items())
    return _question(answers, f"share of rows in which {words}", percent, where=where, kind="share")


def _means(answers: Answers, names: Sequence[str]) -> Iterator[Question | None]:
    for name in names:
        yield _question(answers, f"mean of {name}", lambda x: signed(f"{x:.4g}"), where={}, of=name)


def _question(answers: Answers, question: str, write: Any, **asked: Any) -> Question | None:
    try:
        answer: Answer = answers.answer(**asked)
    except ReleaseError:
        return None
    return Question(question, *(write(x) for x in (answer.estimate, answer.low, answer.high)))
