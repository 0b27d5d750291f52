"""The outcome for one column: a proposal, and the notes about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import tomli_w

from cohortium.data import columns
from cohortium.data.columns.absent import AMONG_TEXTS, declared
from cohortium.data.columns.encoding import MISSING_WORDS
from cohortium.drafting.facts import RARE, ColumnFacts


@dataclass(frozen=True)
class Note:
    """Why something is proposed. ``column`` is in the schema, or was dropped from it.

    text: holds nothing of the rows. seen: what was seen of them, for the institution's own screen. table: of events, where
    the column is one of these; an empty column is the table itself.
    """

    column: str
    text: str
    dropped: bool = False
    seen: str = ""
    table: str = ""

    @property
    def where(self) -> str:
        """What it is about, in words."""
        column = repr(self.column) if self.column else "the table"
        return f"{self.table}, {column}" if self.table else column


@dataclass(frozen=True)
class Proposal:
    column: columns.Column | None
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Found:
    """A column, or none; why, in words that hold nothing of the rows, and what was seen of them.

    taken: words, in small letters, that were taken for missing where they occur.
    """

    column: columns.Column | None
    texts: tuple[str, ...] = ()
    seen: str = ""
    taken: frozenset[str] = AMONG_TEXTS

    def words(self, facts: ColumnFacts) -> Counter[str]:
        """The words that were taken for missing, as they are written, the most common first."""
        taken = self.taken | MISSING_WORDS
        return Counter({w: n for w, n in facts.absent.most_common() if w.lower() in taken})

    def taking(self, words: frozenset[str]) -> Found:
        """The same, with such words taken for missing."""
        return replace(self, taken=words)

    def missing(self, facts: ColumnFacts) -> tuple[str, ...] | None:
        """The words for missing that the column declares; None where none occurs."""
        words = self.words(facts)
        rare = [w for w, count in words.items() if count < RARE]
        return declared([w for w in words if w not in rare], rare) or None


def quoted(text: str) -> str:
    return tomli_w.dumps({"x": text})[4:].rstrip("\n")
