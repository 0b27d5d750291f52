"""What an experiment came to: a tidy table, what each institution gains, and a page; all as private as the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from cohortium.data.readers.frames import Table, as_table
from cohortium.data.schema import Schema
from cohortium.errors import StudyError
from cohortium.evaluation.likeness import TOLD_APART
from cohortium.system.arguments import path as as_path
from cohortium.system.arguments import whole
from cohortium.system.files import write_whole
from cohortium.system.pages import framed
from cohortium.system.progress import Progress, Silent
from cohortium_simulation.compare.drawing import Curve, Point, chart
from cohortium_simulation.compare.grid import Experiment, experiment_of, load_experiment
from cohortium_simulation.compare.running import Run
from cohortium_simulation.compare.runs import all_runs

LESS = ("mean ", TOLD_APART)  # how names of measures begin of which less is better
PAGE = "compare.html"
TABLE = "runs.parquet"


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of an experiment. Compared with real rows: keep it where these are."""

    experiment: Experiment
    runs: tuple[Run, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a run and measure: role, label, institutions, generator, epsilon, trust, dropouts, whose, seed, measure, value, seconds."""
        return pd.DataFrame(self._rows(), columns=_COLUMNS)

    def _rows(self) -> Iterator[dict[str, object]]:
        for run in self.runs:
            case = asdict(run.case) | {"label": run.case.label, "seconds": run.seconds}
            yield from ({**case, "measure": name, "value": value} for name, value in run.figures.items())

    @property
    def means(self) -> pd.DataFrame:
        """Over seeds: the mean, its standard error, and how many."""
        by = [c for c in _COLUMNS if c not in ("seed", "value", "seconds")]
        grouped = self.table.groupby(by, sort=False)["value"]
        found = grouped.agg(["mean", "sem", "count"]).reset_index()
        return found.rename(columns={"sem": "error", "count": "seeds"})

    @property
    def gains(self) -> pd.DataFrame:
        """For every institution, generator, epsilon, trust and measure: what it gets together and alone, and the gain, with its error over seeds.

        A gain is better for being larger, whether or not less of the measure is better.
        """
        keys = ["institutions", "generator", "epsilon", "measure", "seed"]
        together, alone = (self.table[self.table["role"] == role] for role in ("together", "alone"))
        both = together.merge(alone, on=keys, suffixes=("", "_alone"))
        sign = np.where(both["measure"].map(is_less_better), -1.0, 1.0)
        both = both.assign(gain=sign * (both["value"] - both["value_alone"]), whose=both["whose_alone"])
        by = ["whose", "institutions", "generator", "epsilon", "trust", "dropouts", "measure"]
        found = both.groupby(by, sort=False).agg(
            together=("value", "mean"), alone=("value_alone", "mean"), gain=("gain", "mean"), error=("gain", "sem")
        )
        return found.reset_index()

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.error]

    @property
    def sentences(self) -> list[str]:
        """What each institution gains by the first measure of a model, in plain words."""
        return [_sentence(row) for _, row in self._first_gains.iterrows()]

    @property
    def _first_gains(self) -> pd.DataFrame:
        gains = self.gains
        return gains[gains["measure"] == next(iter(self.measures), None)]

    @property
    def measures(self) -> list[str]:
        """Of models first."""
        return sorted(self.table["measure"].unique(), key=lambda name: ": " not in name)

    @cached_property
    def html(self) -> str:
        """The page: one HTML file that runs no script and loads nothing."""
        page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        page.globals.update(chart=chart, style=_css(), less=is_less_better)
        text = (resources.files("cohortium_simulation.compare") / "page.html").read_text(encoding="utf-8")
        return page.from_string(text).render(
            experiment=self.experiment, curves=self._curves, gains=self._first_gains.to_dict("records"), failed=self.failed,
            rows=self.means.to_dict("records"), count=len(self.runs), seeds=self.experiment.seeds,
        )  # fmt: skip

    @property
    def _curves(self) -> list[tuple[str, list[Curve], list[Curve]]]:
        """By measure: over epsilon, and over the number of institutions where several were tried."""
        return [(m, self._over("epsilon", m), self._over("institutions", m)) for m in self.measures]

    def _over(self, axis: str, measure: str) -> list[Curve]:
        means = self.means
        of = means[(means["measure"] == measure)]
        drawn = of[of["role"].isin(["together", "alone", "central"])]
        other = "institutions" if axis == "epsilon" else "epsilon"
        several = drawn[drawn["role"] != "central"][other].nunique() > 1
        curves = []
        for (label, fixed), part in drawn.groupby(["label", other], sort=False):
            if part[axis].nunique() > 1 or axis == "epsilon":
                named = f"{label}, {fixed:g} {'institutions' if other == 'institutions' else 'epsilon'}"
                points = [Point(float(r[axis]), float(r["mean"]), _error(r)) for _, r in part.iterrows()]
                curves.append(Curve(named if several else str(label), tuple(points)))
        if not curves:
            return []
        level = [Curve(str(r["label"]), (), float(r["mean"])) for _, r in of[of["role"].isin(_LEVELS)].iterrows()]
        return [*curves, *level]

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """The page and the tidy table, files that only their owner may read."""
        where = Path(folder)
        write_whole(where / PAGE, self.html.encode())
        write_whole(where / TABLE, self.table.to_parquet(index=False))
        return where / PAGE

    def __repr__(self) -> str:
        return f"<Comparison {self.experiment.name!r}: {len(self.runs)} runs, {len(self.failed)} of them failed; LOCAL ONLY>"

    def _repr_html_(self) -> str:
        return framed(self.html)


_COLUMNS = [
    "role", "label", "institutions", "generator", "epsilon", "trust", "dropouts", "whose", "seed", "measure", "value", "seconds",
]  # fmt: skip
_LEVELS = ("real rows", "independent", "own rows")


def compare(
    experiment: str | os.PathLike[str] | Mapping[str, object],
    data: Table,
    out: str | os.PathLike[str] = "comparison",
    *,
    schema: Schema | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run an experiment: every generator, epsilon, partition and seed of it, beside what it is compared with.

    experiment: a TOML file (docs/compare.md), or its content as a mapping, and then ``schema``. data: all rows, a DataFrame of any
    library or a path; a share of the persons is held out, and everything is tested on them. out: a folder, made if it is not there; runs
    that it holds already are not run again. jobs: processes, by default one a processor. Nothing is released, and no ledger of yours is
    charged: **what comes out was compared with real rows and is as private as they are**. Raises StudyError E_PLAN_INVALID naming
    the entry that is wrong, and what a table raises.

    >>> import cohortium
    >>> visits = {"age": [30, 41, 56, 62] * 200, "result": ["positive", "negative"] * 400}
    >>> asked = {"seeds": 1, "grid": {"epsilons": [3.0], "trust": ["local"]}, "partition": {"institutions": [1]}}
    >>> found = cohortium.compare(asked, visits, schema=cohortium.draft_schema(visits).schema.reviewed(), jobs=1)
    >>> sorted(found.table["role"].unique())
    ['alone', 'central', 'independent', 'own rows', 'real rows', 'together']
    """
    if isinstance(experiment, Mapping):
        if schema is None:
            raise StudyError("E_PLAN_INVALID", "schema", "the experiment's table is not described", "Pass schema=.")
        asked = experiment_of(experiment, schema)
    else:
        asked = load_experiment(as_path("experiment", experiment))
    asked.schema.require_reviewed()
    folder = as_path("out", out)
    folder.mkdir(parents=True, exist_ok=True)
    processes = whole("jobs", jobs, 1) if jobs is not None else max(1, os.cpu_count() or 1)
    table = as_table(data, "data").reset_index(drop=True)
    runs = all_runs(asked, table, folder, processes, progress or Silent())
    found = Comparison(asked, tuple(runs))
    found.write(folder)
    return found


def is_less_better(measure: str) -> bool:
    return measure.startswith(LESS)


def _sentence(row: pd.Series) -> str:
    better = "better" if row["gain"] > 0 else "worse"
    error = "" if np.isnan(row["error"]) else f" ± {1.96 * row['error']:.3f}"
    setting = f"epsilon {row['epsilon']:g}, {row['generator']}, {row['trust']}, {row['institutions']} institutions"
    return (
        f"{row['whose']} ({setting}): {row['measure']} {row['together']:.3f} together, {row['alone']:.3f} alone: "
        f"{abs(row['gain']):.3f}{error} {better}."
    )


def _error(row: pd.Series) -> float:
    return 0.0 if np.isnan(row["error"]) else 1.96 * float(row["error"])


def _css() -> str:
    return (resources.files("cohortium_server.release.page") / "report.css").read_text(encoding="utf-8")
