"""An institution's folder: ``institution.toml`` and what it names.

name = "emergency"
study = "../study.toml"          # the study this institution has agreed to
ledger = "ledger.sqlite"

[source]
path = "table.parquet"

[population]
name = "emergency-patients"
epsilon = 10.0                   # the most these people may ever spend; by default what the study promises, once
delta = 1e-6
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tomli_w
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cohortium.errors import InputError
from cohortium.privacy.ledger import Cap, Ledger
from cohortium.schema import first_problem, read_toml
from cohortium.study import Privacy, load_study
from cohortium_client.custodian import Custodian, Population
from cohortium_client.source import load_codes

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class Source:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    path: str
    drop_bad_rows: bool = False


@dataclass(frozen=True, kw_only=True)
class PopulationFile:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    epsilon: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-6

    def population(self, promised: Privacy) -> Population:
        """A coordinator may start runs as often as it likes, so there is always a cap."""
        declared = None if self.epsilon is None else Cap(self.epsilon, self.delta)
        return Population(self.name, declared or Cap(promised.epsilon, promised.delta))


@dataclass(frozen=True, kw_only=True)
class InstitutionFile:
    """What nobody else decides or sees. Paths are relative to the file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: str
    source: Source
    population: PopulationFile
    study: str = "../../study.toml"
    ledger: str = field(default="ledger.sqlite")


def load_institution(folder: Path) -> InstitutionFile:
    """The folder's ``institution.toml``; InputError names the place of a problem."""
    document = read_toml(folder / "institution.toml")
    try:
        return TypeAdapter(InstitutionFile).validate_python(document)
    except ValidationError as error:
        place, what = first_problem(error)
        raise InputError("E_INPUT_NOT_FOUND", f"institution.toml, {place}", what, "Correct the file.") from None


def dumps_institution(file: InstitutionFile) -> str:
    population = {k: v for k, v in vars(file.population).items() if v is not None}
    return tomli_w.dumps(
        {
            "name": file.name,
            "study": file.study,
            "ledger": file.ledger,
            "source": vars(file.source),
            "population": population,
        }
    )


def open_custodian(folder: Path) -> Custodian:
    """The custodian of an institution's folder, with its table encoded and its ledger open."""
    file = load_institution(folder)
    study = load_study(folder / file.study)
    codes = load_codes(folder / file.source.path, study.schema, drop_bad_rows=file.source.drop_bad_rows)
    return Custodian(file.name, study, codes, Ledger(folder / file.ledger), file.population.population(study.privacy))
