"""Small built-in studies whose guarantees an attack can nearly reach: counts and training without sampling, also under masks."""

from __future__ import annotations

from dataclasses import replace

from cohortium.data.columns import Categorical, Column, Continuous
from cohortium.data.schema import Schema
from cohortium.study.generators import Autoregressive, Sweep
from cohortium.study.study import Institution, Privacy, Study

DELTA = 1e-6
NAMES, MORE_NAMES = ("north", "south", "west", "east"), ("hill", "lake")


def _column(name: str, cells: int) -> Continuous:
    return Continuous(name=name, lower=0, upper=cells - 1, bins=cells)


def _study(name: str, generator: Sweep | Autoregressive, m: int, *columns: Column) -> Study:
    return Study(
        name=name,
        schema=Schema(name=name, person="person", columns=columns),
        privacy=Privacy(epsilon=4.0, delta=DELTA, rows_per_person=m),
        generator=generator,
        institutions=tuple(Institution(name=n) for n in NAMES),
    )


def _masked(seen: Study, name: str, tolerated: int) -> Study:
    """The same with six institutions under masks, of which ``tolerated`` may drop out and as many collude."""
    privacy = replace(seen.privacy, trust="secure-sum", dropouts=tolerated, colluders=tolerated)
    six = tuple(Institution(name=n) for n in (*NAMES, *MORE_NAMES))
    return replace(seen, name=name, privacy=privacy, institutions=six)


def builtin_studies() -> tuple[Study, Study, Study, Study, Study]:
    """Of counts almost all cells are some canary's own; a training's one column has a bias for every canary."""
    counts = _study(
        "counts", Sweep(components=10, bins=4096), 2, _column("cell", 4096), _column("b", 3), _column("c", 2)
    )
    local = Autoregressive(rounds=2, steps=4, sampling_rate=1.0, clip=0.25, bins=256)
    gradients = replace(local, steps=1)
    training = _study("training", local, 1, _column("cell", 256))
    codes = Categorical(name="cell", categories=tuple(f"{k}" for k in range(512)))
    return (
        counts,
        training,
        _masked(counts, "masked sums", 0),
        _masked(counts, "masked sums with dropouts", 1),
        _masked(_study("gradients", gradients, 1, codes), "masked gradients", 0),
    )
