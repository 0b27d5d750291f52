"""How good synthetic rows are on known tables, and how long they take: ours, our peers', and the figures to reach.

    python benchmarks/utility.py                                # sweep, main tables, epsilon 1, one institution, 5 seeds
    python benchmarks/utility.py --wanted                       # every case that has a figure to reach
    python benchmarks/utility.py --sets covid nass --epsilon .3 1 3 10 --generators sweep "dpmm MST" --settings one "10 local"
    python benchmarks/utility.py --show --readme                # run nothing; write the tables of README and docs/benchmarks.md from what there is

Every run is a line of benchmarks/results/runs.jsonl, with the commit it was made at; what is there is not run again
(``--again``: unless it was made at another commit), so an interrupted benchmark goes on where it was. Tables
are in ``sets.py``, generators and settings in ``cases.py``, figures to reach in ``wanted.py``, peers in ``peers/``.
With ``--readme`` the exit code is 1 where README's table has a line that is not within 1.1 times independent columns, and the line says so.
Seconds are a processor's; on a machine that others use as well, set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cases
import sets
from cases import MEASURES, Case, Run
from peers.runner import LIMIT
from readme import PAGES, WITHIN, farther
from rich.console import Console
from rich.table import Table
from wanted import WANTED, missed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MAIN = ("adult16", "bank", "sdnist", "covid", "heart", "heart16", "nass")


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--sets", choices=sets.SETS, default=MAIN, **several)
    parser.add_argument("--epsilon", type=float, default=[1.0], nargs="+", help="inf: no privacy")
    parser.add_argument(
        "--generators", choices=cases.ALL, default=["sweep", "sweep on raw rows"], help=", ".join(cases.ALL), **several
    )
    parser.add_argument(
        "--settings", choices=cases.SETTINGS, default=["one"], help=", ".join(cases.SETTINGS), **several
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose words contain this")
    parser.add_argument("--wanted", action="store_true", help="the cases that have figures to reach, instead")
    parser.add_argument("--again", action="store_true", help="run again what was made at another commit")
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--limit", type=int, default=LIMIT, help="a processor's seconds that a peer's run may take")
    parser.add_argument("--runs", type=Path, default=RESULTS / "runs.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "utility.json")
    parser.add_argument("--readme", action="store_true", help="write the tables of README and docs/benchmarks.md")
    return parser.parse_args(words)


def chosen(reported: argparse.Namespace) -> Iterator[Case]:
    """The cases, all of the first seed first."""
    product = itertools.product(reported.sets, reported.epsilon, reported.generators, reported.settings)
    groups = list(WANTED) if reported.wanted else list(product)
    for seed, (name, epsilon, generator, setting) in itertools.product(range(reported.seeds), groups):
        baseline = generator in cases.BASELINES
        case = (
            Case(name, math.inf, generator, "one", seed) if baseline else Case(name, epsilon, generator, setting, seed)
        )
        if case.sensible and reported.only in words(case):
            yield case


def words(case: Case) -> str:
    return f"{case.set}, epsilon {case.epsilon:g}, {case.generator}, {case.setting}"


def table(runs: Sequence[Run]) -> Table:
    shown = Table(caption="mean (least to most over seeds), wanted; ✓ reached, ✗ missed")
    for column in ("", "seeds", *MEASURES.values()):
        shown.add_column(column, justify="left" if not column else "right")
    for group, together in cases.groups(runs).items():
        figures = (_cell(group, together, measure) for measure in MEASURES)
        shown.add_row(words(together[0].case), str(len(together)), *figures, end_section=True)
    return shown


def _cell(group: tuple[str, float, str, str], runs: Sequence[Run], measure: str) -> str:
    values = [r.figures[measure] for r in runs if r.figures and measure in r.figures]
    if not values:
        return "" if any(r.figures for r in runs) else "did not\nfinish"
    digits = 1 if measure == "seconds" else 4
    text = f"{cases.mean(runs, measure):.{digits}f}\n({min(values):.{digits}f} to {max(values):.{digits}f})"
    wanted, miss = missed(group, measure, cases.mean(runs, measure))
    return text if wanted is None else f"{text}\n{'✗' if miss else '✓'} {wanted:g}"


def document(runs: Sequence[Run]) -> str:
    """All cases as JSON."""
    reported = []
    for group, together in cases.groups(runs).items():
        means = {m: round(cases.mean(together, m), 5) for m in MEASURES if not math.isnan(cases.mean(together, m))}
        judged = {m: missed(group, m, value) for m, value in means.items()}
        wanted = {m: {"wanted": w, "reached": not miss} for m, (w, miss) in judged.items() if w is not None}
        commits = sorted({r.commit for r in together})
        reported.append(
            {"case": words(together[0].case), "seeds": len(together), "commits": commits, "mean": means} | wanted
        )
    return json.dumps({"delta": cases.DELTA, "cases": reported}, indent=1) + "\n"


def main() -> int:
    reported, console = options(sys.argv[1:]), Console(width=150)
    known, here = cases.read(reported.runs), set(sets.available())
    todo = list(dict.fromkeys(chosen(reported)))
    for name in sorted({case.set for case in todo} - here):
        console.print(f"Skipped: the table {name} is not in {sets.SETS[name].path}.")
    for case in todo:
        ours = reported.again and case in known and case.generator in cases.GENERATORS
        stale = ours and known[case].commit != cases.commit()
        if reported.show or case.set not in here or (case in known and not stale):
            continue
        known[case] = cases.run(case, reported.limit)
        cases.append(reported.runs, known[case])
        console.print(words(case), case.seed, known[case].figures or "did not finish")
    console.print(table([known[case] for case in todo if case in known]))
    everything = list(cases.read(reported.runs).values())  # others may have run meanwhile
    reported.out.write_text(document(everything), encoding="utf-8")
    if reported.readme:
        for name, renewed in PAGES.items():
            page = ROOT / name
            page.write_text(renewed(page.read_text(encoding="utf-8"), everything), encoding="utf-8")
    beyond = farther(cases.groups(everything)) if reported.readme else []
    for name in beyond:
        console.print(f"{name}: the pairs are more than {WITHIN} times as far as independent columns without noise")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
