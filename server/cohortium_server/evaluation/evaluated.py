"""A release compared with real rows that somebody holds: measures, attacks, and a page, all as private as those rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from cohortium.evaluation import fairness, learning, likeness, pairs, shapes
from cohortium.evaluation.evaluation import Evaluation
from cohortium.evaluation.measures import Measure
from cohortium.system.files import write_whole
from cohortium.system.pages import framed
from cohortium_server.evaluation.drawing import ladder, named, risks, title, ways
from cohortium_server.release.page.numerals import number

MOST_PARTS = 24  # columns or pairs that are drawn
WARNING = "LOCAL ONLY: computed from real rows, and as private as they are."
_TOPICS = {
    likeness.TOPIC: (
        "Rows",
        "Whether a model tells synthetic rows from real ones (0.5 is a guess), whether they are where real rows are and reach all of "
        "them, and how wrong shares under random conditions on one to three columns are.",
    ),
    pairs.TOPIC: (
        "Pairs of columns",
        "How far tables of two and three columns are from the real ones, and what one column says of another.",
    ),
    learning.TOPIC: (
        "Models",
        "Trained on synthetic rows and tested on real ones that they never saw; floor and ceiling were trained on independent columns and "
        "on real rows.",
    ),
    fairness.TOPIC: (
        "Fairness",
        "How differently a model treats groups of persons. A gap near that of a model trained on real rows, the ceiling, says that synthetic "
        "rows would show it to whoever has only them.",
    ),
    shapes.TOPIC: ("Single columns", "How far the values of each column are from the real ones."),
}


@dataclass(frozen=True)
class Topic:
    """A section of the page. listed: its measures. drawn: those of the whole table or of models that have both ends. parts: the
    distances of columns or pairs that are furthest beyond what other real rows have.
    """

    key: str
    title: str
    words: str
    listed: tuple[Measure, ...]

    @property
    def drawn(self) -> tuple[Measure, ...]:
        return tuple(m for m in self.listed if m.way is not None and (not m.of or self.key == learning.TOPIC))

    @property
    def parts(self) -> tuple[Measure, ...]:
        there = [m for m in self.listed if m.of and m.name == shapes.TVD]
        return tuple(sorted(there, key=lambda m: (m.ceiling or 0.0) - m.synthetic.value)[:MOST_PARTS])

    @property
    def sentences(self) -> tuple[str, ...]:
        """Of the measures of the whole table, and of models."""
        return tuple(m.sentence for m in self.listed if not m.of or self.key in (learning.TOPIC, fairness.TOPIC))


@dataclass(frozen=True, repr=False)
class Evaluated:
    """What ``Release.evaluate`` found. measures, attacks: tables; notes: what was not looked at, and why.

    Keep it where the real rows are: nothing in it was noised or charged.
    """

    name: str
    found: Evaluation

    @property
    def measures(self) -> pd.DataFrame:
        """One row a measure: topic, measure, of, better, synthetic, low, high, floor, ceiling."""
        return self.found.table

    @property
    def attacks(self) -> pd.DataFrame:
        """One row an attack; no row without a hold-out."""
        return self.found.attacks

    @property
    def notes(self) -> tuple[str, ...]:
        return self.found.notes

    @property
    def breaks(self) -> bool:
        """Whether an attack found more than the guarantee allows, by more than chance."""
        return any(f.breaks for f in self.found.findings)

    @property
    def sentences(self) -> list[str]:
        """What matters most, in plain words."""
        return [sentence for topic in self._topics for sentence in topic.sentences] + [
            f.sentence for f in self.found.findings
        ]

    @property
    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "warning": WARNING,
            "release": self.name,
            "rows": self.found.rows,
            "guarantee": None
            if self.found.guarantee is None
            else dict(zip(("epsilon", "delta"), self.found.guarantee, strict=True)),
            "measures": [m.document() for m in self.found.measures],
            "attacks": [f.document() for f in self.found.findings],
            "notes": list(self.notes),
        }

    @cached_property
    def _topics(self) -> tuple[Topic, ...]:
        return tuple(self._sections())

    def _sections(self) -> Iterator[Topic]:
        for key, (heading, words) in _TOPICS.items():
            listed = tuple(m for m in self.found.measures if m.topic == key)
            if listed:
                yield Topic(key, heading, words, listed)

    @cached_property
    def html(self) -> str:
        """The page: one HTML file that runs no script and loads nothing."""
        page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        page.filters.update(number=number)
        page.globals.update(
            ways=ways, ladder=ladder, risks=risks, named=named, title=title, style=_file("release.page", "report.css")
        )
        return page.from_string(_file("evaluation", "page.html")).render(
            name=self.name,
            topics=self._topics,
            findings=self.found.findings,
            broken=sum(f.breaks for f in self.found.findings),
            notes=self.notes,
            rows=self.found.rows,
            guarantee=self.found.guarantee,
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """The page as a file that only its owner may read."""
        written = Path(path)
        write_whole(written, self.html.encode())
        return written

    def __repr__(self) -> str:
        return f"<Evaluated {self.name!r}: {len(self.found.measures)} measures, {len(self.found.findings)} attacks; {WARNING}>"

    def _repr_html_(self) -> str:
        return framed(self.html)


def _file(room: str, name: str) -> str:
    return (resources.files(f"cohortium_server.{room}") / name).read_text(encoding="utf-8")
