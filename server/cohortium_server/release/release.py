"""A release in a folder: sampling from it, querying it and imputing with it, at no further cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cohortium.data.conditions.parsing import Where, selected
from cohortium.data.events import PERSONS
from cohortium.data.readers.frames import Table, as_table
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium.study.study import Study, load_study
from cohortium.study.wording import Kind as RunKind
from cohortium.system.arguments import described, number, refused, whole
from cohortium.system.arguments import path as as_path
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Generator, generator_class
from cohortium_server.release.answers import Answer, Answers, Kind
from cohortium_server.release.answers.stored import FILE as ANSWERS
from cohortium_server.release.balance import Balance, balanced_table, read_balance
from cohortium_server.release.blanks import Undeclared, imputed
from cohortium_server.release.carried import Carried
from cohortium_server.release.evidence import check_evidence, check_kind
from cohortium_server.release.linked import SYNTHETIC, drawn_rows, file_of, tables_of
from cohortium_server.release.manifest import MARK, UNPROTECTED, kind_of, verify
from cohortium_server.release.pages import Report, release_page
from cohortium_server.release.rows import drawn_table
from cohortium_server.release.tables import read_released

if TYPE_CHECKING:
    from cohortium_server.evaluation.evaluated import Evaluated


@dataclass(frozen=True, repr=False)
class Release:
    """A released model and its tables. ``sample`` costs nothing: it only post-processes what was released.

    >>> import cohortium
    >>> release = cohortium.load_release("release")
    >>> release.kind, len(release.synthetic) == release.manifest["rows"]
    ('simulation', True)
    """

    path: Path
    study: Study
    manifest: Mapping[str, Any]
    progress: Progress = field(default_factory=Silent, compare=False)

    @property
    def schema(self) -> Schema:
        return self.study.schema

    @property
    def kind(self) -> RunKind | None:
        """federation, simulation or not-private: what ran the study. None in releases from before that was recorded."""
        return kind_of(self.manifest)

    @property
    def carries(self) -> Carried | None:
        """Which classes of a target and which pairs of columns it carries. None in releases from before that was recorded."""
        document = self.manifest.get("carries")
        return None if document is None else Carried.read(document)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and process pools get: its folder and manifest, and nothing that was loaded from it."""
        return {"path": self.path, "study": self.study, "manifest": self.manifest, "progress": Silent()}

    def __repr__(self) -> str:
        m, kind = self.manifest, self.kind or "of a kind that was not recorded"
        cost = f"epsilon {m['guarantee']['epsilon']:.4f}" if "guarantee" in m else "no privacy"
        return (
            f"<Release {str(self.path)!r}: {kind}, {m['rows']} rows by {m['generator']}, "
            f"{len(m['institutions'])} institutions, {cost}>"
        )

    @property
    def mark(self) -> str:
        """What the names of its files begin with: nothing, unless it was made without privacy."""
        return MARK if self.manifest["format"] == UNPROTECTED else ""

    @property
    def synthetic(self) -> pd.DataFrame:
        """The released synthetic table; of a release with events that of the persons."""
        return self._released(SYNTHETIC)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All released tables by name: ``synthetic``, or ``persons`` and those of their events, which ``simulate`` takes as they are."""
        names = (PERSONS, *(t.name for t in self.schema.tables)) if self.schema.tables else (SYNTHETIC,)
        return {name: self._released(file_of(name)) for name in names}

    def _released(self, name: str) -> pd.DataFrame:
        return read_released(self.path / f"{self.mark}{name}.parquet")

    @cached_property
    def generator(self) -> Generator:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(self.path / f"{self.mark}model.safetensors")
        except SafetensorError:
            raise ReleaseError(
                "E_RELEASE_TOUCHED", "model.safetensors", "it is not in safetensors format", "Get the release again."
            ) from None
        kind = generator_class(self.study.generator.kind)
        return kind.from_tensors(self.study, tensors, self.progress)

    def sample(
        self, rows: int, where: Where | None = None, seed: int | None = None, balance: Balance | None = None
    ) -> pd.DataFrame:
        """Exactly ``rows`` new synthetic rows; under ``where`` each row keeps to the values it names.

        where: column to what it may be, a value, None for missing, ``between(40, 60)``, ``other_than("x")`` or a list of
        these, or the texts of the command line (``cohortium.data.conditions.parsing``). balance: a column whose values, but for the
        missing one, get equal shares, or ``{"result": {"positive": 0.3, "negative": 0.7}}``; such a sample is not the
        population's, and its ``attrs["balance"]`` says so. seed: makes the draw repeatable; privacy does not depend on it.
        Raises ReleaseError E_CONDITION, and InputError E_ARGUMENT for what is no number of rows or no seed.

        >>> import cohortium
        >>> release = cohortium.load_release("release")
        >>> table = release.sample(10, {"result": "positive", "age": cohortium.between(40, 60)}, seed=7)
        >>> len(table), set(table["result"]), bool(table["age"].between(40, 60).all())
        (10, {'positive'}, True)
        """
        rows, rng = whole("rows", rows), np.random.default_rng(None if seed is None else whole("seed", seed))
        chosen = selected(self.schema, {} if where is None else where)
        if balance is None:
            return drawn_table(self.generator, self.schema, rows, rng, chosen)
        balanced = read_balance(self.schema, balance, chosen)
        return balanced_table(self.generator, self.schema, rows, rng, chosen, balanced)

    def sample_tables(
        self, persons: int, where: Where | None = None, seed: int | None = None
    ) -> dict[str, pd.DataFrame]:
        """Exactly so many new synthetic persons with their events, by table, as in ``tables``; keys fit.

        where, seed: as in ``sample``; conditions are on persons: ``{"age": between(40, 60), "visits_rows": between(2, None)}``.
        ``sample`` draws persons alone, each with what follows from the events. Raises as ``sample``.

        >>> import cohortium
        >>> {name: len(table) for name, table in cohortium.load_release("release").sample_tables(5, seed=7).items()}
        {'synthetic': 5}
        """
        persons, rng = whole("persons", persons), np.random.default_rng(None if seed is None else whole("seed", seed))
        chosen = selected(self.schema, {} if where is None else where)
        return tables_of(drawn_rows(self.generator, self.schema, persons, rng, chosen), self.schema, rng)

    @cached_property
    def answers(self) -> Answers:
        """The basis of answers: the noised tables, and what is known about the model's errors."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path / ANSWERS
        if not path.is_file():
            what = "it was made without noise, or before answers with errors"
            raise ReleaseError("E_ANSWER", self.path.name, what, "Draw a sample and count in it.")
        try:
            tensors = load_file(path)
        except SafetensorError:
            raise ReleaseError(
                "E_RELEASE_TOUCHED", ANSWERS, "it is not in safetensors format", "Get the release again."
            ) from None
        return Answers.read(self.schema, self.generator, tensors, lambda: self.synthetic, self.progress)

    def query(
        self, where: Where | None = None, of: str | None = None, kind: Kind | None = None, level: float = 0.95
    ) -> Answer:
        """A count, share or mean of the real table, and an interval that holds it with a chance of about ``level``.

        where: conditions as in ``sample``. of: the column of a mean. kind: "count" (where no column is named), "share" of
        all rows, or "mean" of the column's known values. At most three columns in all. It costs nothing: the
        noised tables were released. Rows are those that the study counts, of a person at most so many. Raises ReleaseError
        E_CONDITION, and E_ANSWER where there is no answer (docs/answers.md).


        >>> import cohortium
        >>> answer = cohortium.load_release("release").query({"result": "positive"})
        >>> answer.low <= answer.estimate <= answer.high
        True
        """
        if kind is not None and not isinstance(kind, str):
            raise refused("kind", f"it is {described(kind)}, not a text", "Pass count, share or mean.")
        return self.answers.answer({} if where is None else where, of, kind, number("level", level))

    def impute(self, table: Table, seed: int | None = None, undeclared: Undeclared = "keep") -> pd.DataFrame:
        """``table`` with every blank filled in, each row's according to the model, given its other values.

        table: a DataFrame of any library, a path, or columns by name: any columns in any order; those of the schema that are
        not there come last, filled throughout. Values that are there stay as they are, with their dtype and spelling, and
        columns that the schema has not, the person's for one, stay. undeclared: what becomes of a cell that holds no value
        of the schema: ``keep`` lets it stand, ``blank`` fills it in, ``refuse`` raises InputError E_UNDECLARED. The result's
        ``attrs["imputed"]`` counts all of it by column. It costs nothing: the model was released.

        >>> import cohortium
        >>> release = cohortium.load_release("release")
        >>> release.impute({"age": [70, 20], "result": ["positive", None]}, seed=7)["result"].notna().all().item()
        True
        """
        rng = np.random.default_rng(None if seed is None else whole("seed", seed))
        return imputed(self.generator, self.schema, as_table(table), rng, undeclared)

    def evaluate(
        self,
        data: Table,
        holdout: Table | None = None,
        targets: str | Sequence[str] | None = None,
        groups: str | Sequence[str] = (),
        seed: int = 0,
    ) -> Evaluated:
        """The synthetic rows compared with real ones, and attacked: columns, pairs, rows, models, fairness, with floor and ceiling.

        data: the rows that the release was made from, or some of them: a DataFrame of any library, or a path. holdout: rows of persons
        who took part in nothing; without them nothing is attacked, and half of ``data`` stands for them. targets: columns to predict, by
        default the study's. groups: columns whose groups a model may treat differently. It takes a minute and reads real rows: **what
        it returns is as private as these**, and no part of the release. Raises SchemaError E_SCHEMA_MISSING for a column that
        is not there, InputError E_EVALUATION where fewer than 100 persons have rows that fit.

        >>> import cohortium
        >>> release = cohortium.load_release("release")
        >>> found = release.evaluate(release.sample(500, seed=1).assign(id=range(500)))  # rows that are not real, here
        >>> found.measures["measure"].nunique() > 5, found.breaks
        (True, False)
        """
        from cohortium_server.evaluation.comparing import compared  # which nothing that makes a release imports

        return compared(self, data, holdout, targets, groups, whole("seed", seed))

    def report(self) -> Report:
        """The report on it: a notebook shows it, ``str`` of it is the path of its file, ``.show()`` opens a browser."""
        return Report(self.path / f"{self.mark}report.html")

    def _repr_html_(self) -> str:
        return release_page(self.path, self.manifest, self.kind, self.schema)


def load_release(path: str | Path, not_private: bool = False, progress: Progress | None = None) -> Release:
    """The release in a folder, verified first: every file is what was signed.

    not_private: also one that was made without privacy; otherwise that is NotPrivateError E_NOT_PRIVATE. Raises ReleaseError
    E_RELEASE_NOT_FOUND where there is none, E_RELEASE_TOUCHED naming the file that is not what was signed.

    >>> import cohortium
    >>> cohortium.load_release("release").study.name
    'visits'
    """
    folder = as_path("path", path)
    manifest = verify(folder, not_private=not_private)
    study = load_study(folder / "study.toml")
    if manifest["format"] != UNPROTECTED:
        check_kind(manifest, study)
        check_evidence(folder, study)
    elif study.privacy.mode != "none":
        raise ReleaseError("E_RELEASE_TOUCHED", "study.toml", "it promises privacy", "Ask who made it.")
    return Release(folder, study, manifest, progress or Silent())
