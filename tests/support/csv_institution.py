"""An institution whose table is the bytes of a CSV file, and the study that asks it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from enlisted import with_keys

from cohortium.data.columns import Categorical, Continuous, Datetime
from cohortium.data.schema import Schema
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study
from cohortium_client.custodian.institution import init_institution

SCHEMA = Schema(
    person="p",
    columns=(
        Categorical(name="c", categories=("a", "b"), nullable=True),
        Continuous(name="x", lower=0, upper=100, decimals=1, bins=10, nullable=True),
        Datetime(name="t", lower=datetime(2000, 1, 1), upper=datetime(2030, 1, 1), bins=30, nullable=True),
    ),
)
STUDY = Study(
    name="bit",
    schema=SCHEMA,
    privacy=Privacy(epsilon=0.1, delta=1e-9),
    generator=Sweep(components=10),
    institutions=with_keys("north", "south"),
)
HEAD = b"c,x,t,p\n"
GOOD = [b"a,1.0,2020-01-01,p%d\n" % i for i in range(3)]


def institution(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_bytes(content)
    policy = {"epsilon_per_population": 10.0, "delta": 1e-6, "minimum_institutions": 2}
    init_institution(folder, "north", {"path": "t.csv"}, "patients", policy)
    return folder
