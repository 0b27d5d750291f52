"""What is said of a person whose other values are known: a value of theirs, or which of two parts of rows is theirs.

As Giomi, Boenisch, Wehmeyer and Tasnádi (2023), A unified framework for quantifying privacy risk in synthetic data, define them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.attacks.findings import Attack
from cohortium.evaluation.attacks.targets import Targets
from cohortium.evaluation.neighbours import nearest
from cohortium.evaluation.samples import Sample

BoolArray = npt.NDArray[np.bool_]
MOST = 3_000  # persons of each side
LINKED = 10  # nearest rows of either part, any of which may be the same
_KNOWN = 20_000  # synthetic rows


def inference(targets: Targets, secrets: Sequence[int], names: Sequence[str]) -> Iterator[Attack]:
    """The nearest synthetic row by all other columns has the value; of ordered columns, one in the same sixteenth of rows."""
    synthetic = targets.synthetic.first(_KNOWN)
    for secret in secrets:
        known = [j for j in range(len(names)) if j != secret]
        if not known:
            continue
        members, others = (
            _guessed(targets, s.first(MOST), synthetic, known, secret) for s in (targets.members, targets.others)
        )
        words = f"Who takes {names[secret]} from the nearest released row, by all other columns, is"
        yield Attack("attribute inference", names[secret], members, others, 0, words)


def _guessed(targets: Targets, sample: Sample, synthetic: Sample, known: Sequence[int], secret: int) -> BoolArray:
    near, _ = nearest(targets.space.of(sample, known), targets.space.of(synthetic, known), 1)
    found: BoolArray = synthetic.cells[near[:, 0], secret] == sample.cells[:, secret]
    return found


def linkability(targets: Targets, rng: np.random.Generator) -> Iterator[Attack]:
    """Two halves of a person's columns are both near the same synthetic row."""
    columns = targets.members.cells.shape[1]
    if columns < 2:
        return
    order = rng.permutation(columns)
    halves = order[: columns // 2].tolist(), order[columns // 2 :].tolist()
    synthetic = targets.synthetic.first(_KNOWN)
    members, others = (_linked(targets, s.first(MOST), synthetic, halves) for s in (targets.members, targets.others))
    words = "Who links two halves of a person's columns by a released row near both, is"
    yield Attack("linkability", "", members, others, 0, words)


def _linked(targets: Targets, sample: Sample, synthetic: Sample, halves: tuple[list[int], list[int]]) -> BoolArray:
    one, other = (
        nearest(targets.space.of(sample, half), targets.space.of(synthetic, half), LINKED)[0] for half in halves
    )
    return np.array([bool(set(a) & set(b)) for a, b in zip(one.tolist(), other.tolist(), strict=True)])
