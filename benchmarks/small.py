"""Small, wide and coded tables: raw rows, unedited drafts, every default. Never worse than independent columns?

    python benchmarks/small.py [--sets ulb heart ...] [--epsilon 1] [--editions 2 1] [--seeds 5] [--out benchmarks/results/small.json]
    python benchmarks/small.py --file visits.csv --target readmitted          # any table of one's own

Four fifths of the rows are trained on, by one institution with the noise of a real one, as sweep does at each edition of the plan; the
others test. Distances are taken in cells that no generator knows: 16 quantiles of a number, each word by itself. Figures, mean over
seeds: total variation of pairs (of 400 at most) and of single columns, boosted trees' AUC and average precision of the rarest class,
Kolmogorov and Smirnov's distance of numbers, the rarest class's share over its real one, processor seconds. The last
column says whether the pairs are within 1.1 times the distance of independent columns without noise; the exit code is 1 if
any line of the newest edition is not, so that nobody claims it unknowing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from cases import DELTA
from rich.console import Console
from rich.table import Table
from sets import FOLDER
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from cohortium.data.encoding import decode, encode
from cohortium.data.schema import Schema
from cohortium.drafting.draft import draft
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import EDITION, Institution, Privacy, Study
from cohortium_server.generators import Generator, Sum, generator_class

ROOT = Path(__file__).resolve().parents[1]
SETS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "ulb": ("ulb_creditcard_fraud_sample/creditcard_sample.csv.gz", "Class", ()),
    "heart": ("heart_disease_4hospitals/heart_disease.csv", "target", ("num",)),
    "covid": ("covid_testing_clinics/covid_testing.csv", "result", ("subject_id", "fake_first_name", "fake_last_name")),
    "bank": ("bank_marketing/bank_full.csv", "y", ()),
    "sdnist": ("sdnist_ma2019/ma2019.csv", "PINCP_DECILE", ("PINCP", "PWGTP", "WGTP")),
}
"""File, target, and columns that are left out: what the target was made from, weights, and names."""
CELLS, PAIRS, FEWEST, WITHIN = 16, 400, 5, 1.1
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    pairs: float
    columns: float
    auc: float
    precision: float
    ks: float
    share: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Judge:
    """Real rows, and what synthetic ones are held against."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: str

    @cached_property
    def cuts(self) -> dict[str, npt.NDArray[np.float64]]:
        numbers = [
            c for c in self.train if pd.api.types.is_numeric_dtype(self.train[c]) and self.train[c].nunique() > CELLS
        ]
        inner = np.linspace(0, 1, CELLS + 1)[1:-1]
        return {c: np.unique(np.nanquantile(_numbers(self.train[c]), inner)) for c in numbers}

    @cached_property
    def words(self) -> dict[str, dict[str, int]]:
        others = [c for c in self.train if c not in self.cuts]
        return {c: {w: i for i, w in enumerate(sorted(set(self._words(c, self.train[c]))))} for c in others}

    def _words(self, name: str, values: pd.Series) -> list[str]:
        """Each value by itself. Numbers are compared as numbers, however they are written: "1" beside "__OTHER__" is 1."""
        numbers = pd.api.types.is_numeric_dtype(self.train[name])
        return ["" if pd.isna(v) else _number(v) if numbers or not isinstance(v, str) else v for v in values]

    @cached_property
    def sizes(self) -> list[int]:
        """Cells of each column; the last one is of what is missing, or never seen."""
        return [len(self.cuts[c]) + 2 if c in self.cuts else len(self.words[c]) + 1 for c in self.train]

    def codes(self, table: pd.DataFrame) -> Codes:
        return np.stack([self._codes(c, table[c]) for c in self.train], axis=1)

    def _codes(self, name: str, values: pd.Series) -> Codes:
        if name not in self.cuts:
            known = self.words[name]
            return np.array([known.get(w, len(known)) for w in self._words(name, values)])
        numbers, cuts = _numbers(values), self.cuts[name]
        return np.where(np.isnan(numbers), len(cuts) + 1, np.searchsorted(cuts, np.nan_to_num(numbers), side="right"))

    @cached_property
    def real(self) -> Codes:
        return self.codes(self.train)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        every = list(itertools.combinations(range(len(self.sizes)), 2))
        return [every[i] for i in np.random.default_rng(0).permutation(len(every))[:PAIRS]]

    def figures(self, table: pd.DataFrame) -> Figures:
        codes, rarest = self.codes(table), int(np.argmin(np.bincount(self._y(self.real))))
        auc, precision = self._learnt(codes, rarest)
        share = float((self._y(codes) == rarest).mean() / (self._y(self.real) == rarest).mean())
        pairs = float(np.mean([self._distance(codes, pair) for pair in self.pairs]))
        columns = float(np.mean([self._distance(codes, (j,)) for j in range(len(self.sizes))]))
        return Figures(pairs, columns, auc, precision, self._ks(table), share)

    def _y(self, codes: Codes) -> Codes:
        return codes[:, list(self.train).index(self.target)]

    def _distance(self, codes: Codes, columns: tuple[int, ...]) -> float:
        one, other = (self._shares(c, columns) for c in (self.real, codes))
        return float(np.abs(one - other).sum() / 2)

    def _shares(self, codes: Codes, columns: tuple[int, ...]) -> npt.NDArray[np.float64]:
        shape = tuple(self.sizes[j] for j in columns)
        cells = np.ravel_multi_index(tuple(codes[:, j] for j in columns), shape)
        found: npt.NDArray[np.float64] = np.bincount(cells, minlength=int(np.prod(shape))) / len(codes)
        return found

    def _learnt(self, codes: Codes, rarest: int) -> tuple[float, float]:
        """Mean AUC over classes, and the rarest one's average precision, of trees trained on ``codes``."""
        at, test = list(self.train).index(self.target), self.codes(self.test)
        features, truth = np.delete(test, at, 1), test[:, at]
        if len(np.unique(codes[:, at])) < 2:
            return 0.5, float((truth == rarest).mean())
        model = HistGradientBoostingClassifier(random_state=0).fit(np.delete(codes, at, 1), codes[:, at])
        scores = dict(zip(model.classes_.tolist(), model.predict_proba(features).T, strict=True))
        nothing = np.zeros(len(test))
        judged = [k for k in np.unique(truth).tolist() if FEWEST <= (truth == k).sum() < len(truth)]
        auc = float(np.mean([roc_auc_score(truth == k, scores.get(k, nothing)) for k in judged]))
        return auc, float(average_precision_score(truth == rarest, scores.get(rarest, nothing)))

    def _ks(self, table: pd.DataFrame) -> float:
        return float(np.mean([_ks(self.train[c], table[c]) for c in self.cuts])) if self.cuts else 0.0


def _number(value: object) -> str:
    """The value's text, of a number always the same one, in single precision, as many programs keep them."""
    try:
        return str(value) if isinstance(value, bool | np.bool_) else str(np.float32(str(value)))
    except ValueError:
        return str(value)


def _numbers(values: pd.Series) -> npt.NDArray[np.float64]:
    """In single precision: a rounded number is the one that a program made longer (3.2 and 3.200000048)."""
    read = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return read.astype(np.float32).astype(np.float64)


def _ks(real: pd.Series, synthetic: pd.Series) -> float:
    one, other = (np.sort(numbers[~np.isnan(numbers)]) for numbers in map(_numbers, (real, synthetic)))
    if not len(other):
        return 1.0
    at = np.union1d(one, other)
    below = (np.searchsorted(values, at, side="right") / len(values) for values in (one, other))
    return float(np.abs(np.subtract(*below)).max())


def synthetic(
    schema: Schema, train: pd.DataFrame, epsilon: float, edition: int, seed: int
) -> tuple[pd.DataFrame, float]:
    """Rows of a study of one institution, and processor seconds."""
    study = Study(
        name="small",
        schema=schema,
        privacy=Privacy(epsilon=epsilon, delta=DELTA),
        generator=Sweep(),
        institutions=(Institution(name="one"),),
        edition=edition,
    )
    agreed, codes, began = plan(study), encode(train, schema), time.process_time()
    generator: Generator = generator_class("sweep")(study, seed)
    for number in itertools.count():
        if (query := generator.ask()) is None:
            break
        multiplier = agreed.phase(number).multiplier
        answer = query.answer(codes, multiplier, SecureRandomness())
        generator.tell(Sum(query, answer.values, 1, multiplier))
    rng = np.random.default_rng(seed)
    table = decode(generator.sample(generator.rows, rng, {}), schema, rng)
    return table, time.process_time() - began


def independent(train: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({c: train[c].to_numpy()[rng.permutation(len(train))] for c in train})


def drafted(path: Path, target: str, without: tuple[str, ...]) -> tuple[Schema, Judge]:
    """The draft of a table as it comes, and the table's two parts."""
    rows = pd.read_csv(path, low_memory=False).drop(columns=list(without), errors="ignore")
    schema = draft([rows], "table", [target]).schema.reviewed()
    order = np.random.default_rng(20).permutation(len(rows))
    train, test = (rows.iloc[part].reset_index(drop=True) for part in np.split(order, [len(rows) - len(rows) // 5]))
    return schema, Judge(train[list(schema.names)], test, target)


def lines(
    name: str, path: Path, target: str, without: tuple[str, ...], reported: argparse.Namespace
) -> Iterator[dict[str, object]]:
    schema, judge = drafted(path, target, without)
    head = {"set": name, "rows": len(judge.train), "columns": len(schema.columns), "epsilon": reported.epsilon}
    alone = judge.figures(independent(judge.train))
    yield {**head, "what": "real rows", "figures": asdict(judge.figures(judge.train))}
    yield {**head, "what": "independent columns, no noise", "figures": asdict(alone)}
    for edition in reported.editions:
        runs = []
        for seed in range(reported.seeds):
            table, seconds = synthetic(schema, judge.train, reported.epsilon, edition, seed)
            runs.append({**asdict(judge.figures(table)), "seconds": seconds})
        mean = {k: float(np.mean([run[k] for run in runs])) for k in runs[0]}
        kept = mean["pairs"] <= WITHIN * alone.pairs
        yield {**head, "what": f"edition {edition}", "figures": mean, "runs": runs, "within": kept}


def shown(found: list[dict[str, object]]) -> Table:
    page = Table(caption=f"within: pairs at most {WITHIN} times as far as independent columns without noise")
    for heading in ("set", "rows x columns", "what", *(f.name for f in fields(Figures)), "within"):
        page.add_column(heading, justify="left" if heading in ("set", "what") else "right")
    for line in found:
        figures = line["figures"]
        assert isinstance(figures, dict)
        within = {True: "yes", False: "NO"}.get(line.get("within"), "")  # type: ignore[arg-type]
        numbers = [f"{v:.1f}" if k == "seconds" else f"{v:.3f}" for k, v in figures.items()]
        page.add_row(str(line["set"]), f"{line['rows']:,} x {line['columns']}", str(line["what"]), *numbers, within)
    return page


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--file", type=Path, help="a table instead of the sets; with --target")
    parser.add_argument("--target")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--editions", nargs="+", type=int, default=[EDITION, 1])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "small.json")
    return parser.parse_args()


def main() -> int:
    reported, console = options(), Console(width=170)
    tables = (
        {reported.file.stem: (reported.file, reported.target, ())}
        if reported.file
        else {k: (FOLDER / p, *more) for k, (p, *more) in SETS.items() if k in reported.sets}
    )
    found: list[dict[str, object]] = []
    for name, (path, target, without) in tables.items():
        if not path.exists():
            console.print(f"{name} is skipped: {path.name} is not there")
            continue
        made = list(lines(name, path, target, without, reported))
        console.print(shown(made))
        found += made
    reported.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    newest = [line for line in found if line["what"] == f"edition {EDITION}"]
    return 0 if all(line["within"] for line in newest) else 1


if __name__ == "__main__":
    sys.exit(main())
