"""An experiment as its file describes it, and the runs it consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.data.columns import STRICT
from cohortium.data.schema import Schema, load_schema, to_document
from cohortium.errors import StudyError
from cohortium.system.canonical import digest
from cohortium.system.documents import read_toml
from cohortium.system.problems import first_problem
from cohortium_simulation.layout import Layout, laid_out

Role = Literal["together", "alone", "central", "own rows", "independent", "real rows"]
Epsilon = Annotated[float, Field(gt=0)]
Trust = Literal["secure-sum", "local"]
NOBODY = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is varied. generators: kinds, or sections as in ``study.toml``. dropouts, colluders: of masked sums."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    generators: tuple[str | dict[str, Any], ...] = ("sweep",)
    epsilons: Annotated[tuple[Epsilon, ...], Field(min_length=1)] = (1.0,)
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    trust: Annotated[tuple[Trust, ...], Field(min_length=1)] = ("secure-sum",)
    dropouts: tuple[int, ...] = (0,)
    colluders: int = 0


@dataclass(frozen=True, kw_only=True)
class Partition:
    """How rows are dealt out: among numbers of ``institutions``, unevenly in the target by ``skew``; or ``by`` a declared column.

    declared: ``NAME=VALUE,VALUE`` of the column, by default its categories in the schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    institutions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    by: str | None = None
    declared: tuple[str, ...] = ()
    skew: Annotated[float, Field(gt=0)] | None = None

    def layouts(self, schema: Schema) -> list[Layout]:
        """StudyError E_PLAN_INVALID where it is neither numbers nor a column."""
        if self.by is not None or not self.institutions:
            return [laid_out(schema, None, self.by, self.declared, self.skew)]
        return [laid_out(schema, k, None, self.declared, self.skew) for k in self.institutions]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """holdout: the share of persons whom nothing is fitted to and everything is tested on. seeds: how often everything is repeated.

    rows_per_person: as in a study.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    schema: Schema
    grid: Grid = field(default_factory=Grid)
    partition: Partition = field(default_factory=Partition)
    targets: tuple[str, ...] = ()
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.25
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    rows_per_person: Annotated[int, Field(ge=1)] = 1

    @property
    def predicted(self) -> tuple[str, ...]:
        return self.targets or self.schema.targets

    @property
    def digest(self) -> str:
        """Of all that a run depends on beside its own settings and the rows."""
        document = {
            "schema": to_document(self.schema),
            "partition": asdict(self.partition),
            "targets": list(self.predicted),
            "holdout": self.holdout,
            "rows_per_person": self.rows_per_person,
        }
        return digest(document)


@dataclass(frozen=True)
class Case:
    """One run. institutions: how many the rows are dealt out to. whose: of a run alone, the institution. NaN-free: what a role does
    not have is 0 or empty.
    """

    role: Role
    seed: int
    institutions: int = 1
    generator: str = ""
    epsilon: float = 0.0
    trust: str = ""
    dropouts: int = 0
    whose: str = NOBODY

    @property
    def label(self) -> str:
        """What it is, for people; runs that differ only in seed, epsilon or number have the same."""
        words = {
            "together": f"together, {self.trust}" + (f", {self.dropouts} may drop out" if self.dropouts else ""),
            "alone": f"{self.whose} alone",
            "own rows": f"{self.whose}: its own real rows",
        }
        return words.get(self.role, self.role) + (f", {self.generator}" if self.generator else "")


def cases(experiment: Experiment) -> Iterator[Case]:
    """All runs, those that say most first: of the first seed everything, then of the next."""
    layouts = experiment.partition.layouts(experiment.schema)
    for seed in range(experiment.seeds):
        yield Case("real rows", seed)
        yield Case("independent", seed)
        for layout in layouts:
            yield from _of_layout(experiment.grid, layout, seed)
        for name, epsilon in product(named(experiment.grid), experiment.grid.epsilons):
            yield Case("central", seed, 1, name, epsilon, "local")


def _of_layout(grid: Grid, layout: Layout, seed: int) -> Iterator[Case]:
    count = len(layout.names)
    for name, epsilon, trust, dropouts in product(named(grid), grid.epsilons, grid.trust, grid.dropouts):
        if trust == "secure-sum" or dropouts == grid.dropouts[0]:  # without masks nobody is waited for
            yield Case("together", seed, count, name, epsilon, trust, dropouts if trust == "secure-sum" else 0)
    for whose in layout.names:
        yield Case("own rows", seed, count, whose=whose)
        for name, epsilon in product(named(grid), grid.epsilons):
            yield Case("alone", seed, count, name, epsilon, "local", whose=whose)


def named(grid: Grid) -> Mapping[str, dict[str, Any]]:
    """Sections of generators by names that tell them apart."""
    found: dict[str, dict[str, Any]] = {}
    for one in grid.generators:
        section = {"kind": one} if isinstance(one, str) else dict(one)
        settings = ", ".join(f"{k} {v}" for k, v in section.items() if k != "kind")
        found[f"{section.get('kind', '')}{f' ({settings})' if settings else ''}"] = section
    return found


_ADAPTER = TypeAdapter(Experiment)
_SECTIONS = ("experiment", "grid", "partition")


def load_experiment(path: Path) -> Experiment:
    """An experiment and the schema file it names, which lies beside it.

    Raises InputError for a file that cannot be read, StudyError E_PLAN_INVALID naming the entry, and what ``load_schema`` raises.
    """
    document = read_toml(path)
    if strangers := [name for name in document if name not in _SECTIONS]:
        fix = f"Sections are {', '.join(_SECTIONS)}."
        raise StudyError("E_PLAN_INVALID", path.name, f"there is no section {strangers[0]!r}", fix)
    head = document.get("experiment")
    if not isinstance(head, dict):
        raise StudyError("E_PLAN_INVALID", path.name, "there is no section [experiment]", "Write it.")
    schema = load_schema(path.parent / str(head.pop("schema", "schema.toml")))
    return experiment_of({**document.pop("experiment"), **document}, schema, path.name)


def experiment_of(document: Mapping[str, Any], schema: Schema, where: str = "experiment") -> Experiment:
    """An experiment from plain values; StudyError E_PLAN_INVALID names the entry that is wrong."""
    try:
        found = _ADAPTER.validate_python({"name": "experiment", **document, "schema": schema})
    except ValidationError as error:
        place, what = first_problem(error, Experiment)
        raise StudyError("E_PLAN_INVALID", f"{where}, {place}", what, "Correct the experiment.") from None
    found.partition.layouts(schema)
    for target in found.targets:
        schema.index(target)
    return found
