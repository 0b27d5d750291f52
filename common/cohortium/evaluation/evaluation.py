"""All comparisons of synthetic rows with real ones, and all attacks, in one call: for whoever may see the real rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cohortium.data.schema import Schema
from cohortium.evaluation.attacks.findings import Attack, Finding, judge
from cohortium.evaluation.attacks.inference import inference, linkability
from cohortium.evaluation.attacks.membership import by_density, by_distance, copies
from cohortium.evaluation.attacks.singling_out import singling_out
from cohortium.evaluation.attacks.targets import targets as targets_of
from cohortium.evaluation.fairness import fairness
from cohortium.evaluation.learning import learning
from cohortium.evaluation.likeness import likeness
from cohortium.evaluation.measures import Measure
from cohortium.evaluation.pairs import pairs, triples
from cohortium.evaluation.samples import MOST, Sides, sides
from cohortium.evaluation.shapes import shapes
from cohortium.system.progress import Progress, Silent, advancing

STEPS = 11  # six of comparisons, five of attacks
NO_HOLDOUT = "No attack was tried: that takes persons who took part in nothing. Keep some out before a study, and pass them as the hold-out."
NO_TARGET = "No model was trained: the study names no target. Name the column that users would predict."


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to look at. targets: columns to predict. groups: columns whose groups models may treat differently.

    guarantee: epsilon and delta that the rows' maker promised, None where nothing was. rows_each: real rows of a person that
    count, at most; None for all.
    """

    targets: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    guarantee: tuple[float, float] | None = None
    seed: int = 0
    most: int = MOST
    rows_each: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found. As private as the real rows: it stays where they are."""

    schema: Schema
    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    rows: dict[str, int]
    guarantee: tuple[float, float] | None

    @property
    def table(self) -> pd.DataFrame:
        """One row a measure: topic, measure, of, better, synthetic, low, high, floor, ceiling."""
        return pd.DataFrame([m.document() for m in self.measures])

    @property
    def attacks(self) -> pd.DataFrame:
        """One row an attack and kind of persons: what it found among those who took part and among others, and what is allowed."""
        flat = [
            {k: v for k, v in f.document().items() if k not in ("members", "others")}
            | {"members": f.members.share, "others": f.others.share, "tries": f.members.tries}
            for f in self.findings
        ]
        return pd.DataFrame(flat)

    def one(self, name: str, of: str = "") -> Measure:
        """The measure of that name. Raises KeyError."""
        for measure in self.measures:
            if (measure.name, measure.of) == (name, of):
                return measure
        raise KeyError(name)


def evaluate(
    schema: Schema,
    synthetic: pd.DataFrame,
    real: pd.DataFrame,
    holdout: pd.DataFrame | None = None,
    asked: Asked | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare and attack. holdout: rows of persons who took part in nothing; without it half of the real persons are compared with.

    Raises InputError E_EVALUATION where a table has too few persons, and what ``encode`` raises of a table.
    """
    asked = asked or Asked()
    rng = np.random.default_rng(asked.seed)
    found = sides(schema, synthetic, real, holdout, rng, asked.most, asked.rows_each)
    shown = progress or Silent()
    shown.start(STEPS, "evaluating")
    measures = [m for step in advancing(_comparisons(found, asked, rng), shown) for m in step]
    attacks = [a for step in advancing(_attacks(found, asked, rng), shown) for a in step] if found.held_out else []
    shown.done()
    rows = {"real": len(found.real), "reference": len(found.reference), "synthetic": len(found.synthetic)}
    findings = tuple(judge(attacks, asked.guarantee))
    return Evaluation(schema, tuple(measures), findings, tuple(_notes(found, asked)), rows, asked.guarantee)


def _comparisons(found: Sides, asked: Asked, rng: np.random.Generator) -> Iterator[list[Measure]]:
    yield list(shapes(found))
    yield list(pairs(found, rng))
    yield list(triples(found, rng))
    yield list(likeness(found, rng))
    yield list(learning(found, asked.targets))
    yield list(fairness(found, asked.targets, asked.groups))


def _attacks(found: Sides, asked: Asked, rng: np.random.Generator) -> Iterator[list[Attack]]:
    targets = targets_of(found)
    names = found.schema.names
    yield [copies(targets), *by_distance(targets)]
    yield list(by_density(targets))
    yield list(singling_out(targets, found.schema, found.ordered, rng))
    yield list(linkability(targets, rng))
    yield list(inference(targets, _secrets(asked.targets, len(names)), names))


def _secrets(targets: Sequence[int], columns: int) -> tuple[int, ...]:
    """What is guessed of persons: the targets, or without any the first columns."""
    return tuple(targets) or tuple(range(min(5, columns)))


def _notes(found: Sides, asked: Asked) -> Iterator[str]:
    if not found.held_out:
        yield (
            "Without a hold-out, half of the real persons stand for persons nobody saw, and the other half for real rows: models "
            "were tested on persons who may have taken part, and real rows are half as many."
        )
        yield NO_HOLDOUT
    if not asked.targets:
        yield NO_TARGET
    if found.left_out:
        yield f"{found.left_out} real rows do not fit the schema and were left out."
    if found.cut:
        yield f"{found.cut} persons, chosen at random, were left out, so that it takes no longer: intervals are that of those looked at."
