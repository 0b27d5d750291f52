"""Malformed tables of every kind, with one person and without: what the readers' fuzz tests and its benchmark read.

A case is a table of some persons in one of three kinds of source. ``without`` holds everybody but the newcomer,
``with_newcomer`` the same and, somewhere between, whatever the newcomer's rows hold. Others' rows may be malformed,
too, and so may the whole file, in both alike. What was found is compared by ``differences``.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.data.columns import Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.errors import CohortiumError
from cohortium_client.source.mapping import ColumnMapping
from cohortium_client.source.source import Source, load_source

SCHEMA = Schema(
    person="who",
    columns=(
        Categorical(name="colour", categories=("red", "green", "0", "1"), nullable=True),
        Categorical(name="place", categories=("a", "b", "rest"), other="rest", nullable=True),
        Ordinal(name="stage", categories=(1, 2, 3), nullable=True),
        Continuous(name="dose", lower=-5, upper=100, decimals=1, bins=10, nullable=True),
        Datetime(name="seen", lower=datetime(1990, 1, 1), upper=datetime(2030, 1, 1), bins=40, nullable=True),
        Boolean(name="smoker", nullable=True),
    ),
)
NAMES = (*SCHEMA.names, "who", "note")
MAPPING = {
    "colour": ColumnMapping(recode={"1": "red", "True": "green", "2020-01-01": "0"}),
    "dose": ColumnMapping(factor=0.5, offset=1.0),
    "seen": ColumnMapping(format="%d.%m.%Y"),
}
NASTY: tuple[bytes, ...] = (
    *(
        b"",
        b" ",
        b'"',
        b'""',
        b'"a',
        b'a"b',
        b'"a"b',
        b'"a""b"',
        b'"a,b"',
        b'"\n"',
        b'"a\nb"',
        b",",
        b"\n",
        b"\r",
        b"\r\n",
    ),
    *(
        b"\0",
        b"a\0b",
        b"\xff",
        b"J\xfcrgen",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xef",
        "é".encode(),
        b"e\xcc\x81",
    ),
    *(
        b"NaN",
        b"null",
        b"<NA>",
        b"inf",
        b"-inf",
        b"-0.0",
        b"-0",
        b"1e400",
        b"-1e-400",
        b"0x10",
        b"1_000",
        b"+7",
        b"12.0",
    ),
    *(
        b"18446744073709551615",
        b"-9223372036854775809",
        b"9" * 400,
        b"9" * 5000,
        b"1" * 70_000,
        b"True",
        b"FALSE",
        b"yes",
    ),
    *(
        b"0001-01-01",
        b"9999-12-31 23:59:59.999999999",
        b"15000-01-01",
        b"0044-03-15 BC",
        b"2020-01-01T00:00:00.123456789Z",
    ),
    *(b"2020-01-01 00:00+14:00", b"1677-09-21", b"2262-04-12", b"01.02.2020", b"2020-13-45", b"24:00:00", b"infinity"),
    *(b"=1+1", b"{}", b"[1]", "٣".encode(), "🦆".encode(), b"\\x00", b"%s", b"''", b"; DROP TABLE t"),
)
GOOD: dict[str, tuple[bytes, ...]] = {
    "colour": (b"red", b"green", b"0", b"1"),
    "place": (b"a", b"b", b"zz"),
    "stage": (b"1", b"2", b"3"),
    "dose": (b"1.5", b"-5", b"99.9", b"0", b"18446744073709551615"),
    "seen": (b"2020-01-01", b"01.02.2020", b"1999-12-31 23:59:58", b"2020-01-01T00:00:00.5+02:00"),
    "smoker": (b"true", b"0", b"1", b"no"),
    "note": (b"nothing", b'"quoted, and well"'),
}


@dataclass(frozen=True)
class Case:
    without: Source
    with_newcomer: Source
    folder: Path


class Draws:
    """What a case is made of, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def chance(self, of: float) -> bool:
        return bool(self._rng.random() < of)

    def below(self, end: int) -> int:
        return int(self._rng.integers(end))

    def one(self, things: Any) -> Any:
        return things[self.below(len(things))]

    def word(self) -> bytes:
        """One nasty thing, several of them, or any bytes."""
        if self.chance(0.2):
            return self._rng.bytes(self.below(12))
        return b"".join(self.one(NASTY) for _ in range(1 + self.below(1 + 2 * self.chance(0.3))))

    def number(self) -> int:
        """A whole number of 64 bits, near a power of two or a common one."""
        if self.chance(0.3):
            return self.one((0, 1, -1, 18262, 1577836800, 1577836800_000_000))
        edge = 1 << self.below(64)
        return int(np.clip(self.one((1, -1)) * edge + self.one((-1, 0, 1)), -(2**63), 2**63 - 1))

    def row(self, who: bytes, spoilt: float) -> dict[str, bytes]:
        """A row's cells, each of them spoilt by this chance."""
        row = {name: self.word() if self.chance(spoilt) else self.one(words) for name, words in GOOD.items()}
        return {**row, "who": who}


def _persons(draw: Draws) -> list[bytes]:
    """Whose the others' rows are; two rows a person or so."""
    return [f"somebody-{draw.below(12):08}".encode() for _ in range(draw.below(25))]


def _newcomers(draw: Draws) -> list[bytes]:
    """The same identifier once or some times, good or not."""
    who = b"newcomer" if draw.chance(0.6) else draw.word()
    return [who] * (1 + draw.below(3))


# CSV


def csv_case(seed: int, folder: Path) -> Case:
    draw = Draws(seed)
    end = draw.one((b"\n", b"\n", b"\r\n", b"\r"))
    others = [_line(draw, who, 0.15) for who in _persons(draw)]
    if draw.chance(0.05):  # enough for several blocks
        others = others * 40
    new = [_line(draw, who, 0.5) for who in _newcomers(draw)]
    head, rest = _csv_header(draw), draw.one((b"", end))
    at = draw.below(len(others) + 1)
    files = []
    for name, lines in (("without.csv", others), ("with.csv", others[:at] + new + others[at:])):
        (folder / name).write_bytes(end.join([head, *lines]) + rest)
        files.append(Source(path=name, mapping=_mapping(seed)))
    return Case(files[0], files[1], folder)


def _csv_header(draw: Draws) -> bytes:
    head = b",".join(n.encode() for n in NAMES)
    if draw.chance(0.9):
        return head
    return draw.one(
        (b"", b"\xef\xbb\xbf" + head, head + b",who", head.replace(b"dose", b"d\xffse"), b'"' + head, b"\n\n" + head)
    )


def _line(draw: Draws, who: bytes, spoilt: float) -> bytes:
    row = draw.row(who, spoilt)
    cells = [row[name] for name in NAMES]
    if draw.chance(spoilt / 3):
        cells = cells[: draw.below(len(cells))]
    if draw.chance(spoilt / 3):
        cells += [draw.word()]
    return b",".join(cells)


def _mapping(seed: int) -> dict[str, ColumnMapping]:
    return MAPPING if seed % 3 == 0 else {}


# Parquet

_TIMES = [pa.timestamp(u, z) for u in ("ms", "us", "ns") for z in (None, "UTC", "Europe/Berlin", "Nowhere/At_all")]
_NUMBERS = [pa.int64(), pa.uint64(), pa.date64(), pa.time64("us"), pa.time64("ns"), pa.duration("us"), *_TIMES]
_NARROW = [pa.int32(), pa.date32(), pa.time32("s"), pa.time32("ms"), pa.float32(), pa.uint32()]
_TEXTS = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]
KINDS = (*_TEXTS, *_TEXTS, *_NUMBERS, *_NARROW, "decimal", "float", "bool", "dictionary", "uuid", "null")


def parquet_case(seed: int, folder: Path) -> Case:
    draw = Draws(seed)
    others, new = _persons(draw), _newcomers(draw)
    whose = [*others, *new]
    at = draw.below(len(others) + 1)
    order = [*range(at), *range(len(others), len(whose)), *range(at, len(others))]
    arrays = {name: _array(draw, draw.one(KINDS), len(others), len(new)) for name in NAMES}
    arrays["who"] = _whose(draw, whose, len(others))
    broken = draw.one(("", "", "", "", "", "", "", "", "missing", "nested", "cut", "twice"))
    files = []
    for name, rows in (("without.parquet", [i for i in order if i < len(others)]), ("with.parquet", order)):
        table = {n: _taken(a, rows) for n, a in arrays.items() if not (broken == "missing" and n == "dose")}
        if broken == "nested":
            table["dose"] = pa.array([[1.0]] * len(rows), pa.list_(pa.float64()))
        _write_parquet(folder / name, table, seed, broken)
        files.append(Source(path=name, mapping=_mapping(seed)))
    return Case(files[0], files[1], folder)


def _whose(draw: Draws, whose: list[bytes], others: int) -> pa.Array:
    """Identifiers as texts, bytes or numbers of any kind; nobody else has the newcomer's."""
    kind = draw.one((*_TEXTS, *_TEXTS, *(k for k in (*_NUMBERS, *_NARROW) if k != pa.date64())))  # it is stored in days
    if kind in _TEXTS:
        return _raw(whose, kind)
    taken = [1000 + int(who[-2:]) for who in whose[:others]]
    new = draw.number()
    return _stored([*taken, *([new if abs(new) % 2**32 < 1000 else 0] * (len(whose) - others))], kind)


def _taken(array: pa.Array, rows: list[int]) -> pa.Array:
    return array.take(pa.array(rows, pa.int64()))


def _write_parquet(path: Path, table: dict[str, pa.Array], seed: int, broken: str) -> None:
    draw = Draws(seed)
    names, arrays = list(table), list(table.values())
    if broken == "twice":
        names, arrays = [*names, "dose"], [*arrays, arrays[0]]
    written = pa.Table.from_arrays(arrays, names=names)
    pq.write_table(
        written,
        path,
        row_group_size=1 + draw.below(30),
        compression=draw.one(("snappy", "none", "zstd")),
        use_dictionary=draw.chance(0.5),
        store_schema=draw.chance(0.7),
        data_page_version=draw.one(("1.0", "2.0")),
        write_page_index=draw.chance(0.3),
    )
    if broken == "cut":
        path.write_bytes(path.read_bytes()[:-9])


def _array(draw: Draws, kind: Any, others: int, new: int) -> pa.Array:
    """Cells of a kind for everybody; the newcomer's are whatever bits there are."""
    spoilt = [0.1] * others + [0.6] * new
    if kind == "decimal":
        return pa.array(
            [Decimal(draw.number()).scaleb(-2) if draw.chance(0.8) else None for _ in spoilt], pa.decimal128(38, 2)
        )
    if kind == "float":
        return pa.array(
            [draw.one((0.0, -0.0, 1.0, 2.5, np.inf, -np.inf, np.nan, 1e308, None)) for _ in spoilt], pa.float64()
        )
    if kind == "bool":
        return pa.array([draw.one((True, False, None)) for _ in spoilt], pa.bool_())
    if kind == "null":
        return pa.nulls(len(spoilt))
    if kind == "uuid":
        return pa.array([draw._rng.bytes(16) for _ in spoilt], pa.binary(16))
    if kind == "dictionary":
        return _raw([draw.word() if draw.chance(c) else b"a" for c in spoilt], pa.string()).dictionary_encode()
    if kind in _TEXTS:
        words = [w for some in GOOD.values() for w in some]
        return _raw([draw.word() if draw.chance(c) else draw.one(words) for c in spoilt], kind)
    return _stored([draw.number() if draw.chance(c) else draw.one((1, 2, 18262)) for c in spoilt], kind)


def _stored(numbers: list[int], kind: pa.DataType) -> pa.Array:
    if kind in _NARROW:
        return pa.array([((n + 2**31) % 2**32) - 2**31 for n in numbers], pa.int32()).view(kind)
    return pa.array(numbers, pa.int64()).view(kind)


def _raw(words: list[bytes], kind: pa.DataType) -> pa.Array:
    """Bytes called a text, whatever they are."""
    large = kind in (pa.large_string(), pa.large_binary())
    return pa.array(words, pa.large_binary() if large else pa.binary()).view(kind)


# SQLite


def sqlite_case(seed: int, folder: Path) -> Case:
    draw = Draws(seed)
    others = [
        [_cell(draw, v, 0 if n == "who" else 0.15) for n, v in draw.row(who, 0.15).items()] for who in _persons(draw)
    ]
    new = [[_cell(draw, v, 0.5) for v in draw.row(who, 0.5).values()] for who in _newcomers(draw)]
    at = draw.below(len(others) + 1)
    broken = draw.one(("", "", "", "", "", "", "", "", "missing", "table", "none"))
    files = []
    for name, rows in (("without", others), ("with", others[:at] + new + others[at:])):
        _write_sqlite(folder / f"{name}.sqlite", rows, broken)
        query = f"SELECT {', '.join(n for n in NAMES if n != 'dose' or broken != 'missing')} FROM t"  # noqa: S608
        files.append(Source(url=f"sqlite:///{name}.sqlite", query=query, mapping=_mapping(seed)))
    return Case(files[0], files[1], folder)


def _write_sqlite(path: Path, rows: list[list[Any]], broken: str) -> None:
    path.unlink(missing_ok=True)
    if broken == "none":
        path.write_bytes(b"this is no database, but long enough to look like one " * 20)
        return
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {'other' if broken == 'table' else 't'} ({', '.join([*GOOD, 'who'])})")
        for row in rows if broken != "table" else []:
            marks = ", ".join("CAST(? AS TEXT)" if kind == "text" else "?" for kind, _ in row)
            connection.execute(f"INSERT INTO t VALUES ({marks})", [v for _, v in row])  # noqa: S608
        connection.commit()


def _cell(draw: Draws, word: bytes, spoilt: float) -> tuple[str, Any]:
    """A cell as it is stored, and whether its bytes are called a text; in SQLite every row may have its own types."""
    if not draw.chance(spoilt):
        return "text", word
    numbers = (draw.number(), float(draw.number()), -0.0, 0, 0.0, 1, 1.0, float("inf"), None, 12, 12.0)
    return "blob", draw.one((word, *numbers))


# What came of it

CASES: dict[str, Callable[[int, Path], Case]] = {"CSV": csv_case, "Parquet": parquet_case, "SQLite": sqlite_case}


def outcome(source: Source, folder: Path) -> Codes | str:
    """The codes, or how reading failed."""
    try:
        return load_source(source, folder, SCHEMA)
    except CohortiumError as error:
        return error.code


def of_each(codes: Codes) -> Counter[tuple[tuple[int, ...], ...]]:
    """How many persons have just these rows, in this order."""
    rows: dict[int, list[tuple[int, ...]]] = {}
    for person, values in zip(codes.persons.tolist(), codes.values.tolist(), strict=True):
        rows.setdefault(person, []).append(tuple(values))
    return Counter(tuple(own) for own in rows.values())


def differences(case: Case) -> str:
    """What the newcomer changed that is not the newcomer's own; "" if nothing."""
    before, after = outcome(case.without, case.folder), outcome(case.with_newcomer, case.folder)
    if isinstance(before, str) and isinstance(after, str):  # of neither code the custodian says more than E_CUSTODIAN
        return ""
    if isinstance(before, str) or isinstance(after, str):
        return f"{_in_words(before)} without, {_in_words(after)} with"
    return "somebody else's rows changed" if of_each(before) - of_each(after) else ""


def _in_words(found: Codes | str) -> str:
    return found if isinstance(found, str) else "an answer"
