"""Columns that identify persons, stays or rows, and hold nothing else: by their name and many values, or as none is ever there twice."""

from __future__ import annotations

from cohortium.drafting.facts import MANY_WORDS, ColumnFacts
from cohortium.drafting.names import about, is_numbered, names_persons
from cohortium.drafting.spacing import repeats

FEW = 20  # values of which nothing can be told
_BY_CHANCE = 10  # repeats that chance would give: that there is none of them happens once in twenty thousand times
_ALL = 0.9  # of the values are there once
_PERSON = "; if it identifies persons, draft again with it as the person"
NUMBERS_ROWS = "dropped: it numbers the rows"
NAMED = "dropped: its name and many values look like an identifier"
NEVER_TWICE = "dropped: hardly a number is there twice, though by chance many would be: an identifier's, or a counter's"
POINTED_OUT = (
    "hardly a number is there twice: if it tells rows or persons apart, leave it out (--drop), or name it as the person"
)


def reason_to_drop(name: str, facts: ColumnFacts) -> str:
    """Why the column looks like an identifier; empty if it does not."""
    if _counts_rows(facts):
        return NUMBERS_ROWS
    called = about(name)
    if called == "identifier" and _is_wide(name, facts):
        return NAMED if facts.distinct == facts.valid else f"{NAMED}{_PERSON}"
    if is_numbered(name) and facts.valid > FEW and facts.distinct >= _ALL * facts.valid:  # of whatever it is
        return NAMED
    return NEVER_TWICE if called != "quantity" and _are_never_twice(facts) else ""


def hints(name: str, facts: ColumnFacts) -> tuple[str, ...]:
    """The remark on whole numbers that may be an identifier's, and are kept."""
    once = facts.valid > FEW and facts.distinct >= facts.valid and not any(facts.decimals[1:])
    return (POINTED_OUT,) if once and (about(name) != "quantity" or _are_never_twice(facts)) else ()


def _counts_rows(facts: ColumnFacts) -> bool:
    counted = facts.numbers == facts.valid == facts.distinct and not any(facts.decimals[1:])
    return counted and facts.valid > FEW and facts.highest - facts.lowest == facts.distinct - 1


def _is_wide(name: str, facts: ColumnFacts) -> bool:
    if facts.many or facts.distinct > max(FEW, facts.valid / 2):
        return True
    return facts.distinct > MANY_WORDS and (names_persons(name) or is_numbered(name))


def _are_never_twice(facts: ColumnFacts) -> bool:
    """Whether whole numbers are nearly all different where so many, so dense, would repeat each other by chance."""
    if facts.numbers < facts.valid or facts.lowest < 0 or facts.highest > 2.0**53 or any(facts.decimals[1:]):
        return False
    if sum(facts.counts.values()) * _ALL > facts.distinct:
        return False
    seen, expected = repeats({int(x): n for x, n in facts.numbered.items()}, facts.valid)
    return expected >= _BY_CHANCE and seen <= expected / _BY_CHANCE
