"""What rebalancing is worth: a rare class, classifiers trained on plain and on rebalanced synthetic rows, tested on real ones.

    python benchmarks/rare.py [--seeds 3] [--epsilon 1] [--generators sweep] [--out benchmarks/results/rare.json]

One institution, defaults, the rows of ``sets.py`` as they are. Both samples have as many rows as were trained on; the rebalanced
one has equal shares of the target's values (``release.sample(rows, balance=target)``). Rare are all values of the target but
the most frequent. Gradient-boosted trees are trained on cells (``Data.codes``) and rank the real test rows: average precision,
area under the receiver operating characteristic, and the recall at which precision is still three times the class's share
among the test rows. The distance is the 2-way TVD between synthetic and real training rows of the class; beside it that
of the class's real test rows, which so few rows alone make.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import sets
from cases import DELTA, GENERATORS
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from cohortium.evaluation.fidelity import tvd
from cohortium.study.study import Institution, Privacy, Study
from cohortium_simulation.experiment import simulate

ROOT = Path(__file__).resolve().parents[1]
SETS = ("covid", "bank")
PRECISION = 3.0  # times the class's share
FIGURES = ("average precision", "AUC", "recall", "distance")


@dataclass(frozen=True)
class Line:
    """What rows of a class are good for, and what trees trained on the whole table know of it; by FIGURES."""

    set: str
    generator: str
    sample: str
    seed: int
    value: str
    rows: int
    figures: dict[str, float]


def main() -> None:
    chosen, console = options(), Console(width=170)
    lines = []
    for name in (name for name in SETS if name in sets.available()):
        data = sets.load(name)
        lines += judged(data, data.train, "", "real rows", 0)
        lines += judged(data, data.test, "", "real test rows", 0, only="distance")
        for kind, seed in itertools.product(chosen.generators, range(chosen.seeds)):
            for sample, rows in samples(data, kind, chosen.epsilon, seed).items():
                lines += judged(data, rows, kind, sample, seed)
        console.print(shown([line for line in lines if line.set == name], f"{name}, epsilon {chosen.epsilon:g}"))
    settings = {"epsilon": chosen.epsilon, "delta": DELTA, "seeds": chosen.seeds, "precision": PRECISION}
    reported = {"settings": settings, "runs": [asdict(line) for line in lines]}
    chosen.out.write_text(json.dumps(reported, indent=1) + "\n", encoding="utf-8")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=["sweep"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "rare.json")
    return parser.parse_args()


def samples(data: sets.Data, kind: str, epsilon: float, seed: int) -> dict[str, pd.DataFrame]:
    """A plain and a rebalanced sample of one release."""
    study = Study(
        name="rare",
        schema=data.schema,
        privacy=Privacy(epsilon=epsilon, delta=DELTA),
        generator=GENERATORS[kind],
        institutions=(Institution(name="one"),),
    )
    rows = len(data.train)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COHORTIUM_HOME"] = folder  # the ledger of a made-up institution is nobody's
        release = simulate(study, {"one": data.train}, Path(folder) / "release", seed=seed)
        return {
            "plain": release.sample(rows, seed=seed),
            "rebalanced": release.sample(rows, balance=data.target, seed=seed),
        }


def judged(
    data: sets.Data, table: pd.DataFrame, kind: str, sample: str, seed: int, only: str | None = None
) -> Iterator[Line]:
    """A line for every rare class. only: a figure, where the others mean nothing."""
    j = data.schema.names.index(data.target)
    real, train, test = (data.codes(rows) for rows in (data.train, table, data.test))
    trees = HistGradientBoostingClassifier(random_state=0).fit(np.delete(train, j, 1), train[:, j])
    scores = trees.predict_proba(np.delete(test, j, 1))
    for cell in np.argsort(-np.bincount(real[:, j]), kind="stable")[1:]:
        score = scores[:, trees.classes_ == cell].sum(1)  # 0 of a class that was not among the rows
        mine, theirs = train[train[:, j] == cell], real[real[:, j] == cell]
        figures = ranked(test[:, j] == cell, score)
        figures["distance"] = tvd(theirs, mine, data.judged.sizes, 2) if len(mine) else 1.0
        kept = {k: round(v, 4) for k, v in figures.items() if only in (None, k)}
        yield Line(data.name, kind, sample, seed, data.schema.columns[j].categories[cell], len(mine), kept)


def ranked(truth: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> dict[str, float]:
    precision, recall, _ = precision_recall_curve(truth, score)
    return {
        "average precision": float(average_precision_score(truth, score)),
        "AUC": float(roc_auc_score(truth, score)),
        "recall": float(recall[precision >= min(1.0, PRECISION * truth.mean())].max()),
    }


def shown(lines: Sequence[Line], title: str) -> Table:
    result = Table(title=title, caption="mean (least to most over seeds)")
    for column in ("", "rows of", "sample", "rows", *FIGURES):
        result.add_column(column)
    keys = list(dict.fromkeys((line.value, line.generator, line.sample) for line in lines))
    for key in sorted(keys, key=lambda k: k[0]):
        runs = [line for line in lines if (line.value, line.generator, line.sample) == key]
        cells = [figure([r.figures[f] for r in runs if f in r.figures]) for f in FIGURES]
        result.add_row(key[1], key[0], key[2], f"{np.mean([r.rows for r in runs]):.0f}", *cells)
    return result


def figure(values: Sequence[float]) -> str:
    spread = f" ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}" if values else ""


if __name__ == "__main__":
    main()
