"""How good synthetic rows are on a known table, and how long they take, against the figures we want to reach.

    python benchmarks/utility.py [--seeds 3] [--only WORDS] [--rows 0] [--out benchmarks/results/utility.json]

The table is Adult in at most 42 cells a column (../shared/data/adult16), dealt out to institutions at random, or where
a line says so unevenly: by a column, or by its classes in Dirichlet proportions. Lines "no privacy" show how good a
generator is before any noise; nothing else about them is the same as in a study.
Every line is a whole federation in one process: custodians with ledgers on disk, Flower's apps in threads,
secret noise. Seconds are wall time from the first ask to the last sampled row: counting or training at all
institutions, as many at a time as there are cores, noise, ledgers, messages, fitting, sampling. They leave
out finding the noise from epsilon (done once a study), importing, and encoding the tables. On a machine that
others use as well, set OMP_NUM_THREADS=1: threads that wait for one another wait for the others too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from cohortium.encoding import Codes
from cohortium.evaluation.fidelity import tvd
from cohortium.evaluation.utility import auc_of_synthetic
from cohortium.plan import plan
from cohortium.privacy.ledger import Ledger
from cohortium.schema import Schema, schema_from_document
from cohortium.study import Autoregressive, Ctgan, Diffusion, GeneratorPlan, Institution, Privacy, Study, Sweep, Tvae
from cohortium_server.generators import Generator, generator_class
from cohortium_server.journal import BriefJournal
from cohortium_simulation.engine import run_in_process
from cohortium_simulation.experiment import Simulated, sign_all
from cohortium_simulation.partition import by_column, iid, skewed
from cohortium_simulation.unprotected import fit_unprotected

ROOT = Path(__file__).resolve().parents[1]
ADULT = ROOT.parent / "shared" / "data" / "adult16"
TARGET = "income>50K"
MEASURES = ("2-way TVD", "3-way TVD", "boosting AUC", "logistic AUC", "seconds")
Wanted = tuple[float | None, ...]
LARGER_IS_BETTER = {"boosting AUC", "logistic AUC"}


@dataclass(frozen=True)
class Line:
    """What is run, and the figures it should reach; None is the real training rows.

    spared: D and T of a masked sum; None for messages that are private by themselves. epsilon: infinite for no privacy.
    split: how rows are dealt out: "iid", "by COLUMN" or "dirichlet ALPHA".
    """

    name: str
    generator: GeneratorPlan | None
    institutions: int
    wanted: Wanted
    spared: tuple[int, int] | None = None
    epsilon: float = 1.0
    split: str = "iid"

    @property
    def privacy(self) -> Privacy:
        if math.isinf(self.epsilon):
            return Privacy(mode="none")
        if self.spared is None:
            return Privacy(epsilon=self.epsilon, delta=1e-5)
        dropouts, colluders = self.spared
        return Privacy(epsilon=self.epsilon, delta=1e-5, trust="secure-sum", dropouts=dropouts, colluders=colluders)


@dataclass(frozen=True)
class Figures:
    """One run, in the order of MEASURES."""

    pairs: float
    triples: float
    boosting: float
    logistic: float
    seconds: float


def trained(
    name: str, generator: GeneratorPlan, central: dict[float, Wanted], local: dict[float, Wanted]
) -> Iterator[Line]:
    """A trained kind: one institution at several budgets and without privacy, then ten with local noise."""
    for epsilon, wanted in central.items():
        words = "no privacy" if math.isinf(epsilon) else f"epsilon {epsilon:g}"
        yield Line(f"{name}, one institution, {words}", generator, 1, wanted, epsilon=epsilon)
    for epsilon, wanted in local.items():
        yield Line(
            f"{name}, ten institutions, local noise, epsilon {epsilon:g}", generator, 10, wanted, epsilon=epsilon
        )


SECURE = (0.0178, 0.0445, 0.901, 0.905)  # one institution's, within the noise of seeds
LINES = (
    Line("sweep, one institution", Sweep(), 1, (0.0175, 0.0445, 0.902, 0.905, 10)),
    Line("sweep, secure sum of three", Sweep(), 3, SECURE, (0, 0)),
    Line("sweep, secure sum of five", Sweep(), 5, SECURE, (0, 0)),
    Line("sweep, secure sum of ten", Sweep(), 10, SECURE, (0, 0)),
    Line("sweep, secure sum of ten, two may drop out and two collude", Sweep(), 10, (0.0208,), (2, 2)),
    Line("sweep, secure sum of twenty", Sweep(), 20, SECURE, (0, 0)),
    Line("sweep, secure sum of fifty", Sweep(), 50, SECURE, (0, 0)),
    Line("sweep, ten institutions, local noise", Sweep(), 10, (0.037, 0.088, 0.880, 0.883, 10)),
    *(Line(f"sweep, one institution, epsilon {e:g}", Sweep(), 1, (), epsilon=e) for e in (3.0, 10.0)),
    *trained(
        "autoregressive",
        Autoregressive(),
        {
            math.inf: (0.013, 0.028, 0.914),
            1.0: (0.0195, 0.0425, 0.909, 0.905),
            3.0: (0.0145, 0.0335, 0.911),
            10.0: (0.0105, 0.027, 0.912),
        },
        {1.0: (0.042, 0.075, 0.902), 3.0: (0.028, 0.052, 0.909), 10.0: (0.021, 0.041, 0.911)},
    ),
    *trained(
        "diffusion",
        Diffusion(),
        {math.inf: (0.023, 0.042, 0.912), 1.0: (0.06, 0.095, 0.89), 3.0: (0.0393, 0.0627, 0.902), 10.0: ()},
        {3.0: ()},
    ),
    *trained(
        "tvae",
        Tvae(),
        {math.inf: (0.027, 0.055, 0.89), 1.0: (), 3.0: (0.06, 0.11, 0.86), 10.0: ()},
        {3.0: ()},
    ),
    *trained(
        "ctgan",
        Ctgan(),
        {math.inf: (0.05, 0.10, 0.88), 1.0: (), 3.0: (0.09, 0.16, 0.80), 10.0: ()},
        {3.0: ()},
    ),
    Line("autoregressive, secure sum of ten", Autoregressive(), 10, (0.0195, 0.0425, 0.909, None, 60), (0, 0)),
    Line("diffusion, secure sum of ten, epsilon 3", Diffusion(), 10, (0.0393, 0.0627, 0.902), (0, 0), 3.0),
    Line("autoregressive, warm start of .3, one institution", Autoregressive(warm_start=0.3), 1, ()),
    Line(
        "autoregressive, warm start of .3, one institution, epsilon 3", Autoregressive(warm_start=0.3), 1, (), None, 3.0
    ),
    Line("autoregressive, by relationship", Autoregressive(), 6, (), split="by relationship"),
    Line("autoregressive, ten institutions, Dirichlet .5", Autoregressive(), 10, (), split="dirichlet 0.5"),
    Line("the real training rows", None, 1, ()),
)


@dataclass(frozen=True)
class Data:
    schema: Schema
    train: pd.DataFrame
    test: pd.DataFrame

    @property
    def codes(self) -> npt.NDArray[np.int16]:
        return self.train.to_numpy().astype(np.int16)


def load(rows: int) -> Data:
    """The table as codes; ``rows`` above 0 keeps the first training rows only."""
    sizes: dict[str, int] = json.loads((ADULT / "domain.json").read_text())
    train, test = (pd.read_csv(ADULT / f"{part}.csv")[list(sizes)] for part in ("train", "test"))
    columns = [
        {"name": n, "kind": "categorical", "categories": list(range(k)), "target": n == TARGET}
        for n, k in sizes.items()
    ]
    schema = schema_from_document({"name": "adult", "column": columns})
    return Data(schema, train[:rows] if rows else train, test)


def run(line: Line, data: Data, seed: int) -> Figures:
    """One run of one line, judged against the real training and test rows."""
    synthetic, seconds = (data.codes, 0.0) if line.generator is None else synthesise(line, data, seed)
    pairs, triples = (tvd(data.codes, synthetic, data.schema.sizes, k) for k in (2, 3))
    areas = auc_of_synthetic(pd.DataFrame(synthetic, columns=data.train.columns), data.test, TARGET)
    return Figures(pairs, triples, areas.boosting, areas.logistic, seconds)


def synthesise(line: Line, data: Data, seed: int) -> tuple[npt.NDArray[np.int16], float]:
    assert line.generator is not None
    dealt = parts(line, data, np.random.default_rng(seed))
    study = Study(
        name="utility",
        schema=data.schema,
        privacy=line.privacy,
        generator=line.generator,
        institutions=tuple(Institution(name=n) for n in dealt),
    )
    generator_class(study.generator.kind)  # imported, so that it is not timed
    plan(study)  # remembered, so that it is not timed either
    if math.isinf(line.epsilon):
        start = time.perf_counter()
        fitted = fit_unprotected(study, {n: codes(study, t) for n, t in dealt.items()}, seed).generator
        return drawn(fitted, seed), time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COHORTIUM_HOME"] = folder  # receipts of made-up institutions are nobody's
        enlisted = [Simulated(name, Ledger(Path(folder) / f"{name}.sqlite"), name) for name in dealt]
        signed, consents = sign_all(study, [one.identity for one in enlisted])
        plan(signed)
        custodians = {}
        for one in enlisted:
            one.agree(signed)
            custodians[one.name] = one.custodian(signed, codes(signed, dealt[one.name]))
        start = time.perf_counter()
        fitted = run_in_process(signed, consents, custodians, BriefJournal(seed)).generator
        return drawn(fitted, seed), time.perf_counter() - start


def drawn(generator: Generator, seed: int) -> npt.NDArray[np.int16]:
    return generator.sample(generator.rows, np.random.default_rng(seed), {})


def parts(line: Line, data: Data, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int16]]:
    """Each institution's rows."""
    kind, _, what = line.split.partition(" ")
    if kind == "by":
        tables = by_column(data.train, what)
    elif kind == "dirichlet":
        tables = skewed(data.train, line.institutions, TARGET, float(what), rng)
    else:
        tables = iid(data.train, line.institutions, rng)
    return {name: table.to_numpy().astype(np.int16) for name, table in tables.items()}


def codes(study: Study, values: npt.NDArray[np.int16]) -> Codes:
    """A table in which every row is a person's own."""
    return Codes(values, np.arange(len(values)), study.schema.sizes)


def table(results: dict[str, list[Figures]], lines: Sequence[Line], title: str) -> Table:
    shown = Table(title=title, caption="mean (least to most over seeds), wanted; ✓ reached, ✗ missed")
    for column in ("", *MEASURES):
        shown.add_column(column, justify="left" if not column else "right")
    for line in lines:
        shown.add_row(line.name, *(cell(line, k, results[line.name]) for k in range(len(MEASURES))), end_section=True)
    return shown


def cell(line: Line, k: int, runs: Sequence[Figures]) -> str:
    values = [astuple(r)[k] for r in runs]
    digits = 1 if MEASURES[k] == "seconds" else 4
    text = f"{np.mean(values):.{digits}f}\n({min(values):.{digits}f} to {max(values):.{digits}f})"
    if k >= len(line.wanted) or line.wanted[k] is None:
        return text
    sign = "≥" if MEASURES[k] in LARGER_IS_BETTER else "≤"
    return f"{text}\n{'✓' if reached(line, k, float(np.mean(values))) else '✗'} {sign} {line.wanted[k]:g}"


def reached(line: Line, k: int, mean: float) -> bool | None:
    wanted = line.wanted[k]
    if wanted is None:
        return None
    return mean >= wanted if MEASURES[k] in LARGER_IS_BETTER else mean <= wanted


def document(results: dict[str, list[Figures]], lines: Sequence[Line], settings: dict[str, float | str]) -> str:
    told = []
    for line in lines:
        runs = results[line.name]
        means = [float(np.mean([astuple(r)[k] for r in runs])) for k in range(len(MEASURES))]
        verdicts = {m: reached(line, k, means[k]) for k, m in enumerate(MEASURES[: len(line.wanted)])}
        wanted = dict(zip(MEASURES, line.wanted, strict=False))
        told.append(
            {
                "line": line.name,
                "mean": dict(zip(MEASURES, means, strict=True)),
                "wanted": wanted,
                "reached": verdicts,
                "runs": [asdict(r) for r in runs],
            }
        )
    return json.dumps({"settings": settings, "lines": told}, indent=1)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="training rows; 0 for all")
    parser.add_argument("--only", default="", help="lines whose name contains this")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "utility.json")
    return parser.parse_args()


def main() -> None:
    chosen, console = options(), Console(width=140)
    if not ADULT.is_dir():
        console.print("Skipped: the table is not in ../shared/data/adult16.")
        return
    data, results, load_before = load(chosen.rows), dict[str, list[Figures]](), os.getloadavg()[0]
    lines = [line for line in LINES if chosen.only in line.name]
    settings: dict[str, float | str] = {"delta": 1e-5, "rows": len(data.train), "seeds": chosen.seeds}
    settings |= {"cores": os.cpu_count() or 0, "threads": os.environ.get("OMP_NUM_THREADS", "default")}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    for line in lines:
        seeds = range(chosen.seeds if line.generator else 1)
        results[line.name] = []
        for seed in seeds:
            results[line.name].append(run(line, data, seed))
            console.print(line.name, seed, results[line.name][-1])
        settings |= {"load_before": load_before, "load_after": os.getloadavg()[0]}
        done = [one for one in lines if one.name in results]
        chosen.out.write_text(document(results, done, settings) + "\n", encoding="utf-8")
    rows = f"Adult, {len(data.train)} training rows"
    console.print(table(results, lines, f"{rows}, epsilon 1 unless said, delta 1e-5, {chosen.seeds} seeds"))


if __name__ == "__main__":
    main()
