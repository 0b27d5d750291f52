"""The runs of an experiment in a folder: a line each, written as they end, so that an experiment that is interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from cohortium.system.documents import parse_json
from cohortium.system.progress import Progress
from cohortium_simulation.compare.grid import Case, Experiment, cases
from cohortium_simulation.compare.running import Bench, Run

RUNS = "runs.jsonl"


def mark_of(experiment: Experiment, table: pd.DataFrame) -> str:
    """What runs have in common that may stand beside each other: the rows, and all of the experiment but its grid."""
    rows = pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()
    return hashlib.sha256(experiment.digest.encode() + rows).hexdigest()[:16]


def done(folder: Path, mark: str) -> dict[Case, Run]:
    """The runs in a folder that bear the mark; a line that a kill cut short is none."""
    path = folder / RUNS
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = (one for line in lines if (one := _read(line)) is not None and one.pop("mark") == mark)
    runs = (Run(Case(**one.pop("case")), **one) for one in found)
    return {run.case: run for run in runs}


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        found = parse_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "mark" in found else None


def append(folder: Path, run: Run, mark: str) -> None:
    """One line more, readable by its owner alone."""
    handle = os.open(folder / RUNS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as file:
        before = b"" if file.tell() == 0 or _ends_a_line(folder / RUNS) else b"\n"
        file.write(before + json.dumps({"mark": mark, **asdict(run)}).encode() + b"\n")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def all_runs(experiment: Experiment, table: pd.DataFrame, folder: Path, jobs: int, progress: Progress) -> list[Run]:
    """Every run of the experiment, those that are in the folder already as they are there; the rest in ``jobs`` processes."""
    mark, wanted = mark_of(experiment, table), list(cases(experiment))
    there = done(folder, mark)
    left = [case for case in wanted if case not in there]
    progress.start(len(wanted), "runs")
    progress.advance(len(wanted) - len(left))
    for run in _runs(Bench(experiment, table), left, jobs):
        append(folder, run, mark)
        there[run.case] = run
        progress.advance()
    progress.done()
    return [there[case] for case in wanted]


def _runs(bench: Bench, left: Sequence[Case], jobs: int) -> Iterator[Run]:
    """In the order in which they end. Few are handed out at a time: an interrupted pool ends with those it has begun."""
    if jobs == 1 or len(left) < 2:
        yield from map(bench.run, left)
        return
    waiting = list(reversed(left))
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (bench,)) as pool:
        running: set[Future[Run]] = set()
        while waiting or running:
            while waiting and len(running) < jobs:
                running.add(pool.submit(_one, waiting.pop()))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)


_bench: list[Bench] = []
"""A process's own; rows are sent to it once."""


def _begin(bench: Bench) -> None:
    _bench[:] = [bench]


def _one(case: Case) -> Run:
    return _bench[0].run(case)
