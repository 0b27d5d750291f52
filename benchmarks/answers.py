"""Whether intervals of answers hold the real values as often as they say, and how wide they are.

    python benchmarks/answers.py [--sets adult16 bank covid heart sdnist] [--epsilon 1] [--seeds 1] [--questions 1000]

For every table one institution's noised sums, a sweep with defaults, and questions drawn at random: counts, shares and
means of numeric columns, under conditions (a value, a list, a range) on one to three columns in all. Values and the ends
of ranges are drawn from the schema or from the real rows, as somebody asks who knows the field.
The real values are computed by pandas from the rows as they are. The intervals come from noised quantities alone; these only judge them.

coverage: how many of 100 intervals hold the real value. width: the median width of counts and shares in rows, of means in
standard deviations of the column. noise alone: the median width where only noised tables are used, for the questions that
one of them can answer, and of our intervals for the same questions. seconds: of the processor, for what the first question waits for.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sets import Data, load

from cohortium import between
from cohortium.data.columns import Continuous, Ordinal
from cohortium.data.conditions.parsing import Between
from cohortium.data.encoding import encode
from cohortium.errors import ReleaseError
from cohortium.privacy.randomness import SecureRandomness
from cohortium.queries.counts import Counts
from cohortium.study.generators import Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.release.answers import Answers, Kind
from cohortium_server.release.answers.values import has_numbers

SETS = ("adult16", "bank", "covid", "heart", "sdnist")
RESULTS = Path(__file__).resolve().parent / "results" / "answers.json"


@dataclass(frozen=True)
class Question:
    where: dict[str, Any]
    of: str | None
    kind: Kind

    @property
    def order(self) -> int:
        return len({*self.where, *([self.of] if self.of else [])})


@dataclass(frozen=True)
class Judged:
    """One answer. scale: what its width is measured in. alone: the width by noised tables only, if they can tell."""

    kind: str
    order: int
    held: bool
    width: float
    alone: float | None
    how: str


def fitted(study: Study, table: pd.DataFrame, seed: int) -> Generator:
    """A generator given one institution's noised sums, as it would come by its messages."""
    codes, generator, number = encode(table, study.schema), generator_class(study.generator.kind)(study, seed), 0
    while (query := generator.ask()) is not None:
        assert isinstance(query, Counts)
        multiplier = plan(study).phase(number).multiplier
        values = query.answer(codes, multiplier, SecureRandomness()).values
        generator.tell(Sum(query, values, 1, multiplier))
        number += 1
    return generator


def questions(data: Data, count: int, rng: np.random.Generator) -> Iterator[tuple[Question, float]]:
    """Questions, each once, and their real values; means of no rows are left out."""
    numeric = [c.name for c in data.schema.columns if has_numbers(c)]
    found, seen = 0, set[str]()
    while found < count:
        order = int(rng.integers(1, 4))
        names = [str(n) for n in rng.choice(data.schema.names, order, replace=False)]
        kind: Kind = "mean" if names[0] in numeric and rng.random() < 0.5 else ("count", "share")[rng.integers(2)]
        conditioned = names[1:] if kind == "mean" else names
        asked = Question({n: condition(data, n, rng) for n in conditioned}, names[0] if kind == "mean" else None, kind)
        if str(asked) not in seen and (real := real_value(data, asked)) is not None:
            seen.add(str(asked))
            found += 1
            yield asked, real


def condition(data: Data, name: str, rng: np.random.Generator) -> Any:
    column = data.schema.columns[data.schema.names.index(name)]
    if isinstance(column, Continuous | Ordinal):
        low, high = sorted(end(data, column, rng) for _ in range(2))
        return low if rng.random() < 0.15 else between(low, high)
    values = [*getattr(column, "categories", (False, True)), *([None] if column.nullable else [])]
    if rng.random() < 0.5 or len(values) < 3:
        return values[rng.integers(len(values))]
    return [values[k] for k in rng.permutation(len(values))[: rng.integers(2, len(values))]]


def end(data: Data, column: Continuous | Ordinal, rng: np.random.Generator) -> float:
    if isinstance(column, Ordinal):
        return float(column.categories[rng.integers(len(column.categories))])
    if rng.random() < 0.3:
        return float(np.round(rng.uniform(column.lower, column.upper), column.decimals))
    known = clipped(data, column.name).dropna()
    return float(known.iloc[rng.integers(len(known))])


def real_value(data: Data, asked: Question) -> float | None:
    """By pandas, from the rows as they are, numbers clipped to their bounds and rounded to their decimals."""
    held = np.ones(len(data.train), bool)
    for name, wanted in asked.where.items():
        held &= fits(clipped(data, name), wanted)
    if asked.of is None:
        return float(held.sum() if asked.kind == "count" else held.mean())
    known = clipped(data, asked.of)[held].dropna()
    return float(known.mean()) if len(known) else None


def clipped(data: Data, name: str) -> pd.Series:
    column = data.schema.columns[data.schema.names.index(name)]
    values = data.train[name]
    return values.clip(column.lower, column.upper).round(column.decimals) if isinstance(column, Continuous) else values


def fits(values: pd.Series, wanted: Any) -> np.ndarray:
    match wanted:
        case Between():
            return values.between(wanted.lower, wanted.upper).to_numpy()
        case list():
            return np.logical_or.reduce([fits(values, one) for one in wanted])
        case None:
            return values.isna().to_numpy()
        case bool() | float() | np.bool_():
            return (values == wanted).to_numpy(dtype=bool, na_value=False)
    if isinstance(wanted, int):
        return (pd.to_numeric(values) == wanted).to_numpy(dtype=bool, na_value=False)
    return (values.astype("string").str.strip() == str(wanted)).to_numpy(dtype=bool, na_value=False)


def judge(data: Data, answers: Answers, asked: Question, real: float) -> Judged:
    answer = answers.answer(asked.where, asked.of, asked.kind)
    alone = alone_width(answers, asked)
    scale = {"count": 1.0, "share": 1 / len(data.train)}.get(asked.kind) or float(data.train[asked.of].std())
    slack = 1e-9 * max(1.0, abs(real))
    held = answer.low - slack <= real <= answer.high + slack
    width = (answer.high - answer.low) / scale
    return Judged(asked.kind, asked.order, held, width, None if alone is None else alone / scale, answer.how)


def alone_width(answers: Answers, asked: Question) -> float | None:
    try:
        answer = replace(answers, alone=True).answer(asked.where, asked.of, asked.kind)
    except ReleaseError:
        return None
    return answer.high - answer.low


def summary(reported: list[Judged]) -> dict[str, Any]:
    both = [j for j in reported if j.alone is not None]
    return {
        "questions": len(reported),
        "coverage": round(100 * float(np.mean([j.held for j in reported])), 1),
        "width": round(float(np.median([j.width for j in reported])), 3),
        "noise alone": round(float(np.median([j.alone for j in both])), 3) if both else None,
        "ours there": round(float(np.median([j.width for j in both])), 3) if both else None,
    }


def run(name: str, epsilon: float, seed: int, count: int) -> dict[str, Any]:
    data = load(name)
    privacy = Privacy(epsilon=epsilon, delta=1e-5)
    study = Study(
        name="answers",
        schema=data.schema,
        privacy=privacy,
        generator=Sweep(targets=(data.target,)),
        institutions=(Institution(name="one"),),
    )
    generator = fitted(study, data.train, seed)
    answers, start = Answers.of(study, generator), time.process_time()
    laws, _ = answers.errors
    seconds = time.process_time() - start
    reported = [judge(data, answers, q, real) for q, real in questions(data, count, np.random.default_rng(seed))]
    parts = {f"{k}s": [j for j in reported if j.kind == k] for k in ("count", "share", "mean")}
    parts |= {f"{k}-way": [j for j in reported if j.order == k] for k in (1, 2, 3)}
    parts |= {"undecided": [j for j in reported if j.how.startswith("the column's bounds")]}
    growth = {n: [round(float(np.exp(law.growth[0])), 2), round(law.overlap, 2)] for n, law in laws.items()}
    head = {"set": name, "epsilon": epsilon, "seed": seed, "seconds": round(seconds, 1), "growth": growth}
    return {**head, "all": summary(reported), **{k: summary(v) for k, v in parts.items() if v}}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--epsilon", nargs="*", type=float, default=[1.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    chosen, results = options(), []
    for name in chosen.sets:
        for epsilon in chosen.epsilon:
            for seed in range(chosen.seeds):
                results.append(run(name, epsilon, seed, chosen.questions))
                print(json.dumps(results[-1]), flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
