"""Whether a release's means agree with its own table and with the truth, and how wide their intervals are.

    python benchmarks/means.py [--sets adult_raw bank16 covid heart16 sdnist wide] [--seeds 5] [--epsilon 1] [--stretch 20]

For every table and seed one institution's noised sums and a sweep with defaults (delta 1e-5). Of every column of numbers: the mean
that the release reports, its interval at 0.95, the mean of the synthetic rows, and the real one, from the rows as they
are. All errors and widths are in standard deviations of the real column.

A table that is not in ../shared/data is skipped, and that is said. ``wide`` is generated: six columns of 5,000 rows (ages, laboratory
values, amounts), whose bounds are so wide as those declare them who know nothing. ``NAME+wide`` is a table with every upper bound
``--stretch`` times as far.

nearer: columns whose reported mean is, on average over the seeds, at least as near the truth as the synthetic rows' mean;
within: the same, where less than a hundredth of a standard deviation is no difference. held: of 100 intervals, those that
hold the real mean. width: median. before: of intervals by least squares of the noised counts alone, as earlier versions reported them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sets
from answers import clipped, fitted
from rich.console import Console
from rich.table import Table

from cohortium.data.columns import Categorical, Continuous
from cohortium.data.conditions.selection import everything
from cohortium.data.schema import Schema
from cohortium.study.generators import Sweep
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.release.answers import Answers
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import Products
from cohortium_server.release.answers.values import has_numbers, numbers
from cohortium_server.release.rows import drawn_table

SETS = ("adult_raw", "bank16", "covid", "heart16", "sdnist", "heart16+wide", "wide")
RESULTS = Path(__file__).resolve().parent / "results" / "means.json"
ROWS = 5_000
SAME = 0.01  # standard deviations that are no difference
NORMAL = 1.96


@dataclass(frozen=True)
class Line:
    """One column in one release; all but ``held`` in standard deviations of the column."""

    set: str
    seed: int
    column: str
    told: float
    synthetic: float
    width: float
    before: float
    held: bool
    held_before: bool


def main() -> None:
    chosen, console, lines = options(), Console(width=150), list[Line]()
    for name in chosen.sets:
        base, stretched = name.removesuffix("+wide"), name.endswith("+wide")
        if base != "wide" and base not in sets.available():
            console.print(f"{name}: skipped, it is not in {sets.FOLDER}")
            continue
        data = generated() if base == "wide" else sets.load(base)
        data = replace(data, name=name, schema=wider(data.schema, chosen.stretch)) if stretched else data
        for seed in range(chosen.seeds):
            lines += list(judged(data, chosen.epsilon, seed))
        console.print(shown(name, [line for line in lines if line.set == name]))
    settings = {"epsilon": chosen.epsilon, "delta": 1e-5, "seeds": chosen.seeds, "stretch": chosen.stretch}
    reported = {"settings": settings, "sets": summaries(lines), "runs": [asdict(line) for line in lines]}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(reported, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(reported["sets"]))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--stretch", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def generated() -> sets.Data:
    """Values as laboratories and shops have them, in bounds of who knows nothing about them."""
    rng = np.random.default_rng(15)
    sick = rng.random(ROWS) < 0.2
    table = pd.DataFrame(
        {
            "age": np.clip(rng.normal(45 + 15 * sick, 18), 0, 105).round(),
            "cholesterol": rng.normal(200 + 20 * sick, 40).round(),
            "creatinine": rng.lognormal(0 + 0.5 * sick, 0.4).round(2),
            "amount": rng.lognormal(3, 1.2, ROWS).round(2),
            "visits": rng.poisson(2 + 3 * sick).astype(float),
            "balance": np.where(rng.random(ROWS) < 0.1, -1, 1) * rng.lognormal(6, 1, ROWS).round(),
            "sick": np.where(sick, "yes", "no"),
        }
    )
    bounds = {"age": (0, 1000, 0), "cholesterol": (0, 10_000, 0), "creatinine": (0, 1000, 2), "amount": (0, 100_000, 2)}
    bounds |= {"visits": (0, 10_000, 0), "balance": (-1_000_000, 1_000_000, 0)}
    columns = [Continuous(name=n, lower=a, upper=b, decimals=d) for n, (a, b, d) in bounds.items()]
    schema = Schema(name="wide", columns=(*columns, Categorical(name="sick", categories=("yes", "no"), target=True)))
    return sets.Data("wide", schema, table, table.iloc[:0])


def wider(schema: Schema, stretch: float) -> Schema:
    columns = (replace(c, upper=stretch * c.upper) if isinstance(c, Continuous) else c for c in schema.columns)
    return replace(schema, columns=tuple(columns))


def judged(data: sets.Data, epsilon: float, seed: int) -> Iterator[Line]:
    study = Study(
        name="means",
        schema=data.schema,
        privacy=Privacy(epsilon=epsilon, delta=1e-5),
        generator=Sweep(targets=(data.target,)),
        institutions=(Institution(name="one"),),
    )
    generator = fitted(study, data.train, seed)
    synthetic = drawn_table(generator, data.schema, generator.rows, np.random.default_rng(seed))
    answers = Answers.of(study, generator, alone=True, released=lambda: synthetic)
    for column in data.schema.columns:
        if not has_numbers(column):
            continue
        real = pd.to_numeric(clipped(data, column.name)).astype(float)
        mean, unit = float(real.mean()), float(real.std())
        answer = answers.answer({}, of=column.name)
        low, high = least_squares(answers.noised, data.schema, column.name)
        errors = (abs(x - mean) / unit for x in (answer.estimate, float(pd.to_numeric(synthetic[column.name]).mean())))
        widths = ((answer.high - answer.low) / unit, (high - low) / unit)
        holds = answer.low <= mean <= answer.high, low <= mean <= high
        yield Line(data.name, seed, column.name, *(round(x, 5) for x in (*errors, *widths)), *holds)


def least_squares(noised: Noised, schema: Schema, name: str) -> tuple[float, float]:
    """The interval of versions before: a ratio of least-squares sums, cut at the bounds."""
    j = schema.names.index(name)
    column = schema.columns[j]
    value = numbers(column, everything(column))
    known = np.append(np.ones(column.size - 1), 0.0) if column.nullable else np.ones(column.size)
    bounds = float((value.mean - value.reach)[known > 0].min()), float((value.mean + value.reach)[known > 0].max())
    (rows,), _ = (x.tolist() for x in noised.sums(Products((j,), (known[None],))))
    (total,), _ = (x.tolist() for x in noised.sums(Products((j,), ((known * value.mean)[None],))))
    mean = total / rows
    _, (variance,) = (x.tolist() for x in noised.sums(Products((j,), ((known * (value.mean - mean))[None],))))
    half = NORMAL * variance**0.5 / abs(rows)
    return max(bounds[0], mean - half), min(bounds[1], mean + half)


def by_column(lines: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line.set, line.column), []).append(line)
    return found


def summaries(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Of every table, and of all that are not stretched or generated together."""
    names = list(dict.fromkeys(line.set for line in lines))
    groups = {name: [line for line in lines if line.set == name] for name in names}
    whole = {"real tables": [line for line in lines if "wide" not in line.set], **groups}
    whole["all wide"] = [line for line in lines if "wide" in line.set]
    return {name: summary(part) for name, part in whole.items() if part}


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    columns = [
        (np.mean([r.told for r in runs]), np.mean([r.synthetic for r in runs])) for runs in by_column(lines).values()
    ]
    return {
        "columns": len(columns),
        "nearer": round(100 * float(np.mean([reported <= synthetic for reported, synthetic in columns])), 1),
        "within": round(100 * float(np.mean([reported <= synthetic + SAME for reported, synthetic in columns])), 1),
        "held": round(100 * float(np.mean([line.held for line in lines])), 1),
        "held before": round(100 * float(np.mean([line.held_before for line in lines])), 1),
        "width": round(float(np.median([line.width for line in lines])), 4),
        "before": round(float(np.median([line.before for line in lines])), 4),
        "narrower": round(float(np.median([line.before / max(line.width, 1e-9) for line in lines])), 2),
    }


def shown(name: str, lines: Sequence[Line]) -> Table:
    table = Table(title=name, caption="in standard deviations of the column, means over seeds")
    for heading in ("column", "told: error", "synthetic rows: error", "width", "before", "held", "held before"):
        table.add_column(heading, justify="left" if heading == "column" else "right")
    for (_, column), runs in by_column(lines).items():
        means = [f"{np.mean([getattr(r, f) for r in runs]):.4f}" for f in ("told", "synthetic", "width", "before")]
        held = [f"{sum(getattr(r, f) for r in runs)} of {len(runs)}" for f in ("held", "held_before")]
        table.add_row(column, *means, *held)
    return table


if __name__ == "__main__":
    main()
