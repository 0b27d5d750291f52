"""One run of an experiment: a whole federation over dealt-out rows, or what it is compared with, judged by rows held out."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohortium.data.identifiers import identifiers_of
from cohortium.errors import CohortiumError
from cohortium.evaluation import learning, likeness, pairs, shapes
from cohortium.evaluation.samples import Sides, sides
from cohortium_server.release.rows import drawn_table
from cohortium_simulation.compare.grid import Case, Experiment, named
from cohortium_simulation.experiment import Ledgers, as_study, run
from cohortium_simulation.layout import Layout

MOST = 10_000  # persons of each side who are looked at
Figures = dict[str, float]


@dataclass(frozen=True)
class Run:
    """A case and what came of it. figures: by measure; empty where it could not be run, and then ``error`` says why."""

    case: Case
    figures: Mapping[str, float]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Bench:
    """An experiment with the rows it is run on, which stay in memory for all its runs."""

    experiment: Experiment
    table: pd.DataFrame

    @cached_property
    def layouts(self) -> dict[int, Layout]:
        found = self.experiment.partition.layouts(self.experiment.schema)
        return {len(layout.names): layout for layout in found}

    def parted(self, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows that take part, and rows of the persons held out."""
        person, rng = self.experiment.schema.person, np.random.default_rng([seed, 0])
        whose = np.arange(len(self.table)) if person is None else identifiers_of(self.table[person]).places
        count = int(whose.max(initial=-1)) + 1
        out = (rng.permutation(count + 1) < self.experiment.holdout * count)[whose]
        return self.table[~out], self.table[out]

    def run(self, case: Case) -> Run:
        """Whatever refuses is recorded by its code and words, which hold no value."""
        began = time.monotonic()
        try:
            figures = self._judged(case)
            return Run(case, figures, round(time.monotonic() - began, 2))
        except CohortiumError as error:
            return Run(case, {}, round(time.monotonic() - began, 2), str(error))

    def _judged(self, case: Case) -> Figures:
        part, held = self.parted(case.seed)
        rng = np.random.default_rng([case.seed, 1])
        made = self._made(case, part, rng)
        experiment = self.experiment
        found = sides(experiment.schema, made, part, held, rng, MOST, experiment.rows_per_person)
        return judged(replace(found, ends=False), [experiment.schema.index(t) for t in experiment.predicted])

    def _made(self, case: Case, part: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        if case.role == "real rows":
            return part
        if case.role == "independent":
            return pd.DataFrame({name: part[name].to_numpy()[rng.permutation(len(part))] for name in part})
        if case.role == "central":
            return self._fitted(case, {"everybody": part}, len(part))
        dealt = self.layouts[case.institutions].split(
            part, self.experiment.schema, np.random.default_rng([case.seed, 2])
        )
        if case.role == "own rows":
            return dealt[case.whose]
        tables = {case.whose: dealt[case.whose]} if case.role == "alone" else dealt
        return self._fitted(case, tables, len(part))

    def _fitted(self, case: Case, tables: Mapping[str, pd.DataFrame], rows: int) -> pd.DataFrame:
        """Rows of a federation's generator. Ledgers are made and thrown away: no release comes of it."""
        study = as_study(
            self.experiment.schema, list(tables), self._privacy(case), named(self.experiment.grid)[case.generator]
        )
        with _nobodys_home() as folder:
            outcome = run(study, dict(tables), Ledgers(folder), case.seed)
        rng = np.random.default_rng([case.seed, 3])
        return drawn_table(outcome.generator, outcome.study.schema, rows, rng, {})

    def _privacy(self, case: Case) -> dict[str, Any]:
        grid = self.experiment.grid
        masked = {"dropouts": case.dropouts, "colluders": grid.colluders} if case.trust == "secure-sum" else {}
        every = {"rows_per_person": self.experiment.rows_per_person}
        return {"epsilon": case.epsilon, "delta": grid.delta, "trust": case.trust, **masked, **every}


@contextmanager
def _nobodys_home() -> Iterator[Path]:
    """A folder for ledgers and receipts of made-up institutions, thrown away at the end; the user's own stay as they are."""
    before = os.environ.get("COHORTIUM_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COHORTIUM_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["COHORTIUM_HOME"]
            else:
                os.environ["COHORTIUM_HOME"] = before


def judged(found: Sides, targets: list[int]) -> Figures:
    """The figures of the synthetic side alone, each by its name."""
    rng = np.random.default_rng(0)
    columns = list(shapes.shapes(found))
    figures = {f"mean {name} of columns": _mean(columns, name) for name in (shapes.TVD, shapes.KS)}
    together = next(iter(pairs.pairs(found, rng)), None)
    measures = [likeness.told_apart(found), *learning.learning(found, targets)]
    figures |= {f"{m.of}: {m.name}" if m.of else m.name: m.synthetic.value for m in measures}
    if together is not None:
        figures[together.name] = together.synthetic.value
    return {name: round(value, 5) for name, value in figures.items() if np.isfinite(value)}


def _mean(measures: list[Any], name: str) -> float:
    of = [m.synthetic.value for m in measures if m.name == name]
    return float(np.mean(of)) if of else float("nan")
