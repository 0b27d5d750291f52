"""What a custodian needs for a large table: memory, seconds to read it, seconds to answer.

    python benchmarks/custodian.py [--rows 10000000] [--csv-rows 1000000] [--postgresql-rows 1000000]
        [--events 1000000 10000000] [--out benchmarks/results/custodian.json]

A made-up table of 30 columns (texts, numbers, moments, truth; a twentieth of some missing) is written in row groups; a custodian
in a process of its own serves it at its socket and is asked as a coordinator asks: signed, charged, noised. Studies: all pairs
of columns of 16 cells or so; the default, sweep with a target, on fine cells: single columns first, then pairs of merged cells,
crossed with the target; events of persons and all their steps; and one step of training. The first answer
of a run reads the table, libraries for it included; the others have it. Memory is the process's peak since it started (VmHWM),
Python and libraries included. On a busy machine look at the seconds of a processor.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from printing import Figure, shown, write
from rich.console import Console

from cohortium.data.schema import Schema, schema_from_document
from cohortium.federation import wire
from cohortium.queries.counts import Tables
from cohortium.study.generators import Autoregressive, Histories, Sweep
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Privacy, Study
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import init_institution, load_institution
from cohortium_client.socket.gate import is_served
from cohortium_client.socket.service import Connection, run_until_stopped, serve
from cohortium_server.generators import Sum, generator_class

ROOT = Path(__file__).resolve().parents[1]
NAME = "clinic"
ROW_GROUP = 500_000
WANTED = {"memory": 4.0, "answering pairs": 60.0}  # at TEN_MILLION rows
TEN_MILLION = 10_000_000
WANTED_OF_EVENTS = {"memory": 1.5, "all of it": 180.0}  # at TEN_MILLION events
EVENTS_A_PERSON = 100
MISSING = 0.05
TEXTS = (4, 6, 8, 10, 12, 14, 16, 16, 18, 20, 24, 28, 32)  # categories of the columns of text
SPREADS = (3.0, 8.0, 15.0, 30.0, 40.0, 90.0, 200.0, 500.0, 900.0, 4000.0, 9000.0)  # of the columns of numbers
START, DAYS = "2016-01-01", 3650


# The table


def schema(coarse: bool) -> Schema:
    """30 columns. coarse: numbers and moments in 16 cells; otherwise as fine as a schema has them that says nothing."""
    bins = {"bins": 16} if coarse else {}
    blocks: list[dict[str, Any]] = [{"name": "patient", "person": True}]
    for k, size in enumerate(TEXTS):
        words = [f"category {c}" for c in range(size)]
        blocks.append({"name": f"text{k}", "kind": "categorical", "categories": words, "nullable": k % 3 == 0})
    for k, spread in enumerate(SPREADS):
        number = {"lower": 0, "upper": 5 * spread, "decimals": k % 3, "nullable": k % 3 == 1}
        blocks.append({"name": f"number{k}", "kind": "continuous", **number, **bins})
    for k in range(3):
        moment = {"lower": START, "upper": "2025-12-28", "resolution": "day" if k else "hour", "nullable": k == 1}
        blocks.append({"name": f"moment{k}", "kind": "datetime", **moment, **bins})
    blocks += [{"name": f"truth{k}", "kind": "boolean"} for k in range(2)]
    blocks.append({"name": "result", "kind": "categorical", "categories": ["negative", "positive"]})
    return schema_from_document({"name": "visits", "column": blocks})


def part(first: int, rows: int, several: bool) -> pa.Table:
    """Rows ``first``, ...; with ``several`` a person has one to three of them, not side by side, else one."""
    rng, number = np.random.default_rng(first), np.arange(first, first + rows)
    sick = rng.random(rows)
    people = number // 6 * 3 + np.array([0, 1, 1, 2, 2, 2])[number % 6] if several else number
    columns: dict[str, Any] = {"patient": rng.permutation(people)}
    for k, size in enumerate(TEXTS):
        words = pa.array([f"category {c}" for c in range(size)])
        codes = (size * (0.6 * rng.random(rows) ** 2 + 0.4 * sick)).astype(np.int32)
        nulls = rng.random(rows) < MISSING if k % 3 == 0 else None
        columns[f"text{k}"] = pa.DictionaryArray.from_arrays(pa.array(codes, mask=nulls), words).cast(pa.string())
    for k, spread in enumerate(SPREADS):
        numbers = np.round(spread * (rng.exponential(0.6, rows) + sick), k % 3)
        values = numbers.astype(np.int64) if k % 3 == 0 else numbers
        columns[f"number{k}"] = pa.array(values, mask=rng.random(rows) < MISSING if k % 3 == 1 else None)
    for k in range(3):
        hours = (24 * DAYS * rng.random(rows)).astype(np.int64) if k == 0 else 24 * (DAYS * sick).astype(np.int64)
        moments = np.datetime64(START, "s") + hours.astype("timedelta64[h]")
        columns[f"moment{k}"] = pa.array(moments, mask=rng.random(rows) < MISSING if k == 1 else None)
    for k in range(2):
        columns[f"truth{k}"] = rng.random(rows) < sick
    columns["result"] = pa.array(np.where(rng.random(rows) < sick, "positive", "negative"))
    return pa.table(columns)


def parts(rows: int, several: bool) -> Iterator[pa.Table]:
    for first in range(0, rows, ROW_GROUP):
        yield part(first, min(ROW_GROUP, rows - first), several)


def as_parquet(folder: Path, rows: int, several: bool) -> dict[str, str]:
    path = folder / "table.parquet"
    with pq.ParquetWriter(path, part(0, 1, several).schema) as writer:
        for one in parts(rows, several):
            writer.write_table(one, row_group_size=ROW_GROUP)
    return {"path": str(path)}


def as_csv(folder: Path, rows: int, several: bool) -> dict[str, str]:
    path = folder / "table.csv"
    with pacsv.CSVWriter(path, part(0, 1, several).schema) as writer:
        for one in parts(rows, several):
            writer.write_table(one)
    return {"path": str(path)}


def as_postgresql(folder: Path, rows: int, several: bool) -> dict[str, str]:
    """In the throw-away cluster of the tests; nothing where there is none."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from postgres import _cluster, _program, password_file

    if _program("initdb") is None:
        return {}
    cluster = _cluster()
    kinds = {"int64": "bigint", "string": "text", "double": "double precision", "bool": "boolean"}
    fields = part(0, 1, several).schema
    columns = ", ".join(f"{f.name} {kinds.get(str(f.type), 'timestamp')}" for f in fields)
    cluster.execute("DROP TABLE IF EXISTS visits", f"CREATE TABLE visits ({columns})")
    path = as_csv(folder, rows, several)["path"]
    reported = "COPY visits FROM STDIN (FORMAT csv, HEADER)"
    with cluster.connect() as connection, connection.cursor().copy(reported) as copy, Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            copy.write(block)
    return {"url": cluster.url(), "query": "SELECT * FROM visits", "password_file": str(folder / password_file(folder))}


def linked_schema() -> Schema:
    """Persons of two columns, and events of a moment and three."""
    tests = {"name": "test", "kind": "categorical", "categories": [f"test {k}" for k in range(12)]}
    event_columns: list[dict[str, Any]] = [
        {"name": "patient", "person": True},
        {"name": "taken", "kind": "datetime", "time": True, "lower": START, "upper": "2025-12-28", "resolution": "day"},
        tests,
        {"name": "value", "kind": "continuous", "lower": 0, "upper": 100, "decimals": 1, "nullable": True},
        {"name": "urgent", "kind": "boolean"},
    ]
    persons: list[dict[str, Any]] = [
        {"name": "patient", "person": True},
        {"name": "age", "kind": "continuous", "lower": 0, "upper": 99},
        {"name": "sex", "kind": "categorical", "categories": ["f", "m"]},
    ]
    table = {"name": "labs", "most": 2 * EVENTS_A_PERSON, "column": event_columns}
    return schema_from_document({"name": "patients", "column": persons, "table": [table]})


def as_linked(folder: Path, events: int) -> dict[str, Any]:
    """A hundredth as many persons, and their events in no order; all but a very few count."""
    rng, persons = np.random.default_rng(0), events // EVENTS_A_PERSON
    people = {
        "patient": np.arange(persons),
        "age": rng.integers(0, 100, persons),
        "sex": rng.choice(["f", "m"], persons),
    }
    pq.write_table(pa.table(people), folder / "persons.parquet")
    writer, words = None, pa.array([f"test {k}" for k in range(12)])
    for first in range(0, events, ROW_GROUP):
        n = min(ROW_GROUP, events - first)
        kinds = pa.array(rng.integers(0, 12, n).astype(np.int32))
        part_of = pa.table(
            {
                "patient": rng.integers(0, persons, n),
                "taken": np.datetime64(START, "s") + (rng.integers(0, DAYS, n)).astype("timedelta64[D]"),
                "test": pa.DictionaryArray.from_arrays(kinds, words).cast(pa.string()),
                "value": pa.array(np.round(100 * rng.random(n), 1), mask=rng.random(n) < MISSING),
                "urgent": rng.random(n) < 0.2,
            }
        )
        writer = writer or pq.ParquetWriter(folder / "labs.parquet", part_of.schema)
        writer.write_table(part_of)
    if writer is not None:
        writer.close()
    return {"path": str(folder / "persons.parquet"), "tables": {"labs": {"path": str(folder / "labs.parquet")}}}


# The custodian


@dataclass(frozen=True)
class Took:
    """Seconds until the answer was there, and of a processor at the custodian."""

    wall: float
    work: float

    def __sub__(self, other: Took) -> Took:
        return Took(self.wall - other.wall, self.work - other.work)

    def __add__(self, other: Took) -> Took:
        return Took(self.wall + other.wall, self.work + other.work)


@dataclass(frozen=True)
class Served:
    """A custodian's process, and what the system says of it."""

    folder: Path
    process: subprocess.Popen[bytes]

    def ask(self, request: wire.Request, width: int) -> tuple[Any, Took]:
        before = Took(time.perf_counter(), self.worked)
        reported = Connection(self.folder / "custodian.sock").answer(wire.encode_request(request))
        took = Took(time.perf_counter(), self.worked) - before
        answer = wire.decode_answer(reported, width)
        assert isinstance(answer, wire.Answer), answer
        return answer.reply.values, took

    @property
    def worked(self) -> float:
        """Seconds of a processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> float:
        """GB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        (line,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    command = [sys.executable, __file__, "--serve", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not is_served(folder / "custodian.sock"):
            assert process.poll() is None, "the custodian did not start"
            time.sleep(0.05)
        yield Served(folder, process)
    finally:
        process.terminate()
        process.wait()


def serve_until_stopped(folder: Path) -> None:
    """What ``cohortium institution serve`` does, without a relay."""
    logging.basicConfig(level=logging.WARNING)
    opened = load_institution(folder)
    with opened.ledger().hold() as ledger:
        run_until_stopped(serve(opened.custodian(ledger), opened.socket))


# A measurement


@dataclass(frozen=True)
class Case:
    label: str
    source: dict[str, Any]
    rows: int
    privacy: Privacy
    generator: Sweep | Autoregressive | Histories
    coarse: bool = False

    @property
    def of_events(self) -> bool:
        return isinstance(self.generator, Histories)

    def study(self, key: str) -> Study:
        return Study(
            name="large",
            schema=linked_schema() if self.of_events else schema(self.coarse),
            privacy=self.privacy,
            generator=self.generator,
            institutions=(Institution(name=NAME, key=key),),
        )

    def figure(self, name: str, value: float, unit: str, note: str) -> Figure:
        wanted = (WANTED_OF_EVENTS if self.of_events else WANTED).get(name) if self.rows >= TEN_MILLION else None
        return Figure(f"{self.label}: {name}", value, unit, wanted, note)


def measured(case: Case, folder: Path) -> Iterator[Figure]:
    """A custodian of its own, asked every round of the study."""
    policy = {"epsilon_per_population": 1000.0, "delta": 1e-6, "minimum_institutions": 1, "repeatable": True}
    made = init_institution(folder, NAME, case.source, NAME, policy)
    study = case.study(made.identity.public)
    with made.ledger() as ledger:
        consents = {NAME: agree(study, made.identity, made.policy, ledger, made.agreements)}
    with served(folder) as custodian:
        begun = custodian.peak
        yield from _asked(case, study, consents, custodian)
        yield case.figure("memory", custodian.peak, "GB", f"{begun:.2f} before it read")


def _asked(case: Case, study: Study, consents: dict[str, str], custodian: Served) -> Iterator[Figure]:
    generator, run, whole = generator_class(study.generator.kind)(study, 0), secrets.token_hex(16), Took(0.0, 0.0)
    for number in range(plan(study).rounds):
        phase, query = plan(study).phase(number), generator.ask()
        assert query is not None
        values, took = custodian.ask(wire.Request(study.digest, run, number, 0, query.state, consents), query.width)
        whole += took
        asked = f"{len(query.lengths)} tables, {query.width:,} cells" if isinstance(query, Tables) else "one step"
        note, what = f"{took.work:.1f} s of a processor; {asked}", f"answering {phase.name}"
        if number == 0:
            note, what = f"{note}; {took.work / case.rows * 1e6:.1f} µs a row", f"reading, and {what}"
        yield case.figure(what, took.wall, "s", note)
        if number + 1 < plan(study).rounds:
            generator.tell(Sum(query, values, 1, phase.multiplier))
    yield case.figure("all of it", whole.wall, "s", f"{whole.work:.1f} s of a processor")


ONE_ROW = Privacy(epsilon=3.0, delta=1e-8)
TWO_ROWS, ALL_ROWS = replace(ONE_ROW, rows_per_person=2), replace(ONE_ROW, equal_weight="persons")
PAIRS, SWEEP = Sweep(), Sweep(targets=("result",))
STEP = Autoregressive(rounds=1, steps=1, sampling_rate=1e-4)


def cases(home: Path, chosen: argparse.Namespace) -> Iterator[Case]:
    """Tables are written when their turn comes, one after the other into the same place."""
    rows = chosen.rows
    if rows:
        name, source = f"Parquet, {rows:,} rows", as_parquet(home, rows, False)
        yield Case(f"{name} and persons, all pairs", source, rows, ONE_ROW, PAIRS, coarse=True)
        yield Case(f"{name} and persons, sweep", source, rows, ONE_ROW, SWEEP)
        name, source = f"{name}, 1 to 3 a person", as_parquet(home, rows, True)
        yield Case(f"{name}, all pairs", source, rows, TWO_ROWS, PAIRS, coarse=True)
        yield Case(f"{name}, sweep", source, rows, TWO_ROWS, SWEEP)
        yield Case(f"{name}, sweep, equal persons", source, rows, ALL_ROWS, SWEEP)
        yield Case(f"{name}, training", source, rows, TWO_ROWS, STEP)
    for events in chosen.events:
        name = f"{events:,} events of {events // EVENTS_A_PERSON:,} persons"
        yield Case(name, as_linked(home, events), events, ONE_ROW, Histories())
    for kind, rows, put in (("CSV", chosen.csv_rows, as_csv), ("PostgreSQL", chosen.postgresql_rows, as_postgresql)):
        if rows and (source := put(home, rows, True)):
            yield Case(f"{kind}, {rows:,} rows, sweep", source, rows, TWO_ROWS, SWEEP)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=TEN_MILLION)
    parser.add_argument("--csv-rows", type=int, default=1_000_000)
    parser.add_argument("--postgresql-rows", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, nargs="*", default=[TEN_MILLION // 10, TEN_MILLION])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "custodian.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    if chosen.serve is not None:
        serve_until_stopped(chosen.serve)
        return
    figures: list[Figure] = []
    sizes = {k: v for k, v in vars(chosen).items() if k.endswith("rows")}
    with tempfile.TemporaryDirectory(prefix="large-", dir="/tmp") as folder:
        home = Path(folder)
        for number, case in enumerate(cases(home, chosen)):
            figures += measured(case, home / f"institution{number}")
            write(figures, sizes, chosen.out)
    Console(width=170).print(shown(figures, "A large table"))


if __name__ == "__main__":
    main()
