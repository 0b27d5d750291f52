"""One run of the benchmark: a table, a budget, a generator, institutions, a seed; what came out, judged; and a file of runs.

Every run but a peer's is a whole federation in one process: custodians with ledgers on disk, Flower's apps in threads,
secret noise. Generators and peers alike get the rows in the cells in which everybody is judged ("binned in public"), and
keep their defaults. A generator "on raw rows" gets them as they are, finds its own cells, and is judged in ones it does not know.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import sets
from peers import runner

from cohortium.data.encoding import decode, encode
from cohortium.evaluation.fidelity import tvd
from cohortium.evaluation.utility import auc_of_synthetic
from cohortium.ledger.store import Ledger
from cohortium.study import generators as studies
from cohortium.study.generators import GeneratorPlan
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium.system.keys import load_or_create_key
from cohortium_server.generators import Generator, generator_class
from cohortium_server.rounds.journal import BriefJournal
from cohortium_simulation.engine import run_in_process
from cohortium_simulation.experiment import Simulated, sign_all
from cohortium_simulation.partition import by_column, declared_categories, iid, skewed
from cohortium_simulation.unprotected import fit_unprotected

DELTA = 1e-5
MEASURES = {
    "pairs": "2-way TVD",
    "triples": "3-way TVD",
    "boosting": "boosting AUC",
    "logistic": "logistic AUC",
    "ks": "mean KS",
    "seconds": "seconds",
}
RAW = " on raw rows"
BASELINES = ("real rows", "independent columns")


def _generators() -> dict[str, GeneratorPlan]:
    found: dict[str, GeneratorPlan] = {"sweep": studies.Sweep()}
    if pgm := getattr(studies, "Pgm", None):
        found |= {f"pgm {method}": pgm(method=method) for method in ("mst", "aim")}
    trained = (studies.Autoregressive(), studies.Diffusion(), studies.Tvae(), studies.Ctgan())
    found |= {one.kind: one for one in trained}
    return found | {"autoregressive, warm start .3": studies.Autoregressive(warm_start=0.3)}


GENERATORS = {as_given: one for name, one in _generators().items() for as_given in (name, f"{name}{RAW}")}
ALL = (*BASELINES, *GENERATORS, *runner.PEERS)


@dataclass(frozen=True)
class Setting:
    """How many institutions; spared: D and T of a masked sum, None for local noise; split: "iid", "by COLUMN", "dirichlet ALPHA"."""

    institutions: int
    spared: tuple[int, int] | None = None
    split: str = "iid"

    def privacy(self, epsilon: float) -> Privacy:
        if math.isinf(epsilon):
            return Privacy(mode="none")
        if self.spared is None:
            return Privacy(epsilon=epsilon, delta=DELTA)
        dropouts, colluders = self.spared
        return Privacy(epsilon=epsilon, delta=DELTA, trust="secure-sum", dropouts=dropouts, colluders=colluders)


SETTINGS = {
    "one": Setting(1),
    **{f"{k} secure": Setting(k, (0, 0)) for k in (3, 5, 10, 20, 50)},
    "10 secure, 2 lost, 2 collude": Setting(10, (2, 2)),
    "10 local": Setting(10),
    "by relationship": Setting(6, split="by relationship"),
    "10 local, dirichlet 0.5": Setting(10, split="dirichlet 0.5"),
}


@dataclass(frozen=True)
class Case:
    set: str
    epsilon: float
    generator: str
    setting: str
    seed: int = 0

    @property
    def group(self) -> tuple[str, float, str, str]:
        """What its seeds have in common."""
        return self.set, self.epsilon, self.generator, self.setting

    @property
    def sensible(self) -> bool:
        """Peers and baselines know one institution; a baseline has neither noise nor seeds."""
        if self.generator in BASELINES:
            return (self.setting, self.seed) == ("one", 0) and math.isinf(self.epsilon)
        if self.generator in runner.PEERS:
            return self.setting == "one" and not math.isinf(self.epsilon)
        if self.generator.endswith(RAW) and not sets.numbers(self.set):
            return False  # it is all codes
        return self.setting != "by relationship" or self.set.startswith("adult")


@dataclass(frozen=True)
class Run:
    """A case that was run, at which commit; figures by the keys of ``MEASURES``, none where a peer did not finish.

    seconds: of a processor, from the first ask to the last sampled row: counting or training at all institutions, noise,
    ledgers, messages, fitting, sampling; without importing, encoding, or finding the noise from epsilon (once a study).
    """

    case: Case
    figures: dict[str, float] | None
    commit: str
    when: str


def run(case: Case, limit: int = runner.LIMIT) -> Run:
    data = _load(case.set)
    came = _synthesise(case, data, limit)
    figures = None if came is None else {**_judged(data, *came[:2]), "seconds": round(came[2], 2)}
    return Run(case, figures, commit(), datetime.now(UTC).isoformat(timespec="seconds"))


@cache
def _load(name: str) -> sets.Data:
    return sets.load(name)


def _judged(data: sets.Data, codes: sets.Codes, table: pd.DataFrame | None) -> dict[str, float]:
    """Figures of synthetic cells, and of the rows they are of where there are rows."""
    real = data.codes(data.train)
    areas = auc_of_synthetic(data.frame(codes), data.frame(data.codes(data.test)), data.target)
    figures = {
        "pairs": tvd(real, codes, data.judged.sizes, 2),
        "triples": tvd(real, codes, data.judged.sizes, 3),
        "boosting": areas.boosting,
        "logistic": areas.logistic,
    }
    if table is not None and data.numeric:
        figures["ks"] = sets.mean_ks(data, table)
    return {k: round(v, 5) for k, v in figures.items()}


def _synthesise(case: Case, data: sets.Data, limit: int) -> tuple[sets.Codes, pd.DataFrame | None, float] | None:
    """Synthetic cells, their rows if there are any, and seconds."""
    if case.generator in runner.PEERS:
        peer, codes = runner.PEERS[case.generator], data.codes(data.train)
        came = runner.synthesise(peer, codes, data.judged.sizes, case.epsilon, DELTA, case.seed, limit)
        return None if came is None else (came[0], None, came[1])
    if case.generator in BASELINES:
        table = data.train if case.generator == "real rows" else sets.independent(data)
        return data.codes(table), table, 0.0
    table, seconds = federate(case, data)
    return data.codes(table), table, seconds


def federate(case: Case, data: sets.Data) -> tuple[pd.DataFrame, float]:
    """Synthetic rows of a federation over the training rows, and seconds."""
    data = data if case.generator.endswith(RAW) else replace(data, schema=data.judged)
    setting = SETTINGS[case.setting]
    dealt = parts(setting, data, np.random.default_rng(case.seed))
    institutions = tuple(Institution(name=n) for n in dealt)
    generator = GENERATORS[case.generator]
    study = Study(
        name="utility",
        schema=data.schema,
        privacy=setting.privacy(case.epsilon),
        generator=generator,
        institutions=institutions,
    )
    generator_class(generator.kind)  # imported, so that it is not timed
    if math.isinf(case.epsilon):
        plan(study)
        coded = {n: encode(table, study.schema) for n, table in dealt.items()}
        start = time.process_time()
        return _drawn(fit_unprotected(study, coded, case.seed).generator, data, case.seed, start)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COHORTIUM_HOME"] = folder  # receipts of made-up institutions are nobody's
        enlisted = [_simulated(name, Path(folder)) for name in dealt]
        signed, consents = sign_all(study, [one.identity for one in enlisted])
        plan(signed)  # remembered, so that it is not timed either
        custodians = {one.name: one.custodian(signed, encode(dealt[one.name], signed.schema)) for one in enlisted}
        for one in enlisted:
            one.agree(signed)
        start = time.process_time()
        fitted = run_in_process(signed, consents, custodians, BriefJournal(case.seed)).generator
        return _drawn(fitted, data, case.seed, start)


def _drawn(generator: Generator, data: sets.Data, seed: int, start: float) -> tuple[pd.DataFrame, float]:
    rng = np.random.default_rng(seed)
    table = decode(generator.sample(generator.rows, rng, {}), data.schema, rng)
    return table, time.process_time() - start


def _simulated(name: str, folder: Path) -> Simulated:
    """An institution with an empty ledger; its key is the same in every run, and so the study and its plan are."""
    key = _keys() / f"{name}.key"
    load_or_create_key(key)
    shutil.copy(key, folder)
    return Simulated(name, Ledger(folder / f"{name}.sqlite"), name)


@cache
def _keys() -> Path:
    return Path(tempfile.mkdtemp(prefix="utility-keys-"))


def parts(setting: Setting, data: sets.Data, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Each institution's rows."""
    kind, _, what = setting.split.partition(" ")
    if kind == "by":
        return by_column(data.train, what, declared_categories(data.schema, what) or {}, data.schema)
    if kind == "dirichlet":
        return skewed(data.train, setting.institutions, data.target, float(what), rng)
    return iid(data.train, setting.institutions, rng)


@cache
def commit() -> str:
    """The last commit that changed the code that is run; "+" where it has changed since."""
    code = ["--", *(str(Path(__file__).parents[1] / part) for part in ("common", "client", "server", "simulation"))]
    try:
        last, changed = (
            subprocess.run(
                [*words, *code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
            ).stdout
            for words in (["git", "log", "-1", "--format=%h"], ["git", "status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return last.strip() + ("+" if changed else "")


def read(path: Path) -> dict[Case, Run]:
    """The last run of each case in a file of runs; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = (json.loads(line) for line in lines if line)
    runs = (
        Run(
            Case(**{**one["case"], "epsilon": float(one["case"]["epsilon"])}),
            *(one[k] for k in ("figures", "commit", "when")),
        )
        for one in found
    )
    return {one.case: one for one in runs}


def append(path: Path, one: Run) -> None:
    document = asdict(one)
    document["case"]["epsilon"] = str(one.case.epsilon) if math.isinf(one.case.epsilon) else one.case.epsilon
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(document) + "\n")


def groups(runs: Iterable[Run]) -> dict[tuple[str, float, str, str], list[Run]]:
    """Runs that differ in the seed only, in order of their seeds."""
    together: dict[tuple[str, float, str, str], list[Run]] = {}
    for one in sorted(runs, key=lambda r: r.case.seed):
        together.setdefault(one.case.group, []).append(one)
    return together


def mean(runs: Iterable[Run], measure: str) -> float:
    """NaN where no run has it."""
    values: npt.NDArray[np.float64] = np.array([r.figures[measure] for r in runs if r.figures and measure in r.figures])
    return float(values.mean()) if len(values) else math.nan
