"""Histories: whether persons' events follow on each other as the real ones do, under one promise to each person.

    python benchmarks/histories.py [--sets cdnow nafld cards] [--epsilon 1] [--seeds 3] [--out benchmarks/results/histories.json]

Ten institutions (of card payments five banks), one secure sum a round: each institution's persons are clipped, counted and noised as the plan says, and
the generator sees the sums alone. Beside it the real persons who test ("real half against half"; what models learn is from the real ones
who train), and real events that know nothing of each other, without noise. The exit code is 1 if any figure is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from card_payments import Cards
from history_sets import JUDGES as OF_REAL_PERSONS
from history_sets import Judge, Tables
from rich.console import Console
from rich.table import Table

from cohortium.data.encoding import Codes, Events
from cohortium.data.linked import encode_linked
from cohortium.data.schema import Schema
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study.generators import Histories
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_server.generators import Generator, Sum, generator_class
from cohortium_server.release.linked import drawn_rows, tables_of

ROOT = Path(__file__).resolve().parents[1]
INSTITUTIONS, DELTA = 10, 1e-6
JUDGES: dict[str, type[Judge]] = {**OF_REAL_PERSONS, "cards": Cards}
IntArray = npt.NDArray[np.int64]


def study_of(schema: Schema, epsilon: float, institutions: int = INSTITUTIONS) -> Study:
    return Study(
        name="histories",
        schema=schema,
        privacy=Privacy(epsilon=epsilon, delta=DELTA, trust="secure-sum"),
        generator=Histories(),
        institutions=tuple(Institution(name=f"institution-{i}") for i in range(institutions)),
    )


def kept(events: Events, at: IntArray) -> Events:
    return Events(events.values[at], events.persons[at], events.ticks[at])


def parted(codes: Codes, homes: IntArray, seed: int) -> list[Codes]:
    """Each person in one of some institutions: in that of ``homes``, or in any of INSTITUTIONS."""
    whose = homes if len(homes) else np.random.default_rng(seed).integers(0, INSTITUTIONS, len(codes))
    parts = int(whose.max()) + 1
    found = []
    for part in range(parts):
        there = np.flatnonzero(whose == part)
        places = np.cumsum(whose == part) - 1
        ours = [kept(e, np.flatnonzero(whose[e.persons] == part)) for e in codes.events]
        events = tuple(replace(e, persons=places[e.persons]) for e in ours)
        found.append(Codes(codes.values[there], np.arange(len(there)), codes.sizes, events=events))
    return found


def fitted(study: Study, institutions: list[Codes], seed: int) -> Generator:
    """A generator that has received the sums of all rounds."""
    generator: Generator = generator_class(study.generator.kind)(study, seed)
    for phase in plan(study).phases:
        query = generator.ask()
        assert query is not None
        answers = [query.answer(codes, phase.multiplier, SecureRandomness()).values for codes in institutions]
        generator.tell(Sum(query, np.sum(answers, axis=0), len(answers), phase.multiplier))
    return generator


def synthetic(judge: Judge, epsilon: float, seed: int) -> tuple[Tables, dict[str, float]]:
    """The tables of a study, and the processor seconds of its fit and of drawing."""
    institutions = parted(encode_linked(judge.train, judge.schema), judge.homes, seed)
    study = study_of(judge.schema, epsilon, len(institutions))
    began = time.process_time()
    generator = fitted(study, institutions, seed)
    fit, rng = time.process_time(), np.random.default_rng(seed)
    tables = tables_of(drawn_rows(generator, judge.schema, generator.rows, rng), judge.schema, rng)
    return tables, {"fit s": fit - began, "draw s": time.process_time() - fit}


def lines(judge: Judge, epsilon: float, seeds: int) -> Iterator[dict[str, Any]]:
    head = {"set": judge.name, "persons": len(encode_linked(judge.train, judge.schema)), "epsilon": epsilon}
    head["events"] = len(judge.train[judge.events])
    learnt = {k: v for k, v in judge.figures(judge.train).items() if judge.measures[k].larger_is_better}
    yield {**head, "what": "real half against half", "figures": {**judge.figures(judge.test), **learnt}}
    yield {**head, "what": "independent events, no noise", "figures": judge.figures(judge.independent())}
    runs = []
    for seed in range(seeds):
        tables, seconds = synthetic(judge, epsilon, seed)
        runs.append({**judge.figures(tables), **seconds})
        print(json.dumps({"set": judge.name, "seed": seed, **runs[-1]}), flush=True)
    mean = {k: float(np.mean([run[k] for run in runs])) for k in runs[0]}
    yield {**head, "what": "histories", "figures": mean, "runs": runs, "reached": missed(judge, mean) == []}


def missed(judge: Judge, figures: dict[str, float]) -> list[str]:
    return [name for name, measure in judge.measures.items() if measure.reached(figures[name]) is False]


def shown(judge: Judge, found: list[dict[str, Any]]) -> Table:
    head = found[0]
    title = f"{judge.name}: {head['persons']:,} persons, {head['events']:,} events, epsilon {head['epsilon']:g}"
    page = Table(title=title)
    names = [*judge.measures, "fit s", "draw s"]
    for heading in ("", *names):
        page.add_column(heading, justify="right" if heading else "left")
    for line in found:
        page.add_row(line["what"], *(f"{line['figures'][n]:.3f}" if n in line["figures"] else "" for n in names))
    wanted = [judge.measures[n].wanted if n in judge.measures else None for n in names]
    page.add_row("wanted", *("" if w is None else f"{w:g}" for w in wanted))
    return page


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--epsilon", type=float, help="by default 1, of card payments 3")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "histories.json")
    return parser.parse_args()


def main() -> int:
    reported, console = options(), Console(width=170)
    found: list[dict[str, Any]] = []
    for name in reported.sets:
        judge = JUDGES[name]()
        made = list(lines(judge, reported.epsilon or judge.epsilon, reported.seeds))
        console.print(shown(judge, made))
        found += made
    reported.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(line.get("reached", True) for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
